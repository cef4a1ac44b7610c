"""The documentation: it builds without a warning, says all that the code has, and asks for nothing elsewhere at reading time."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from typer.main import get_command

import losslab.plugins
from losslab.cards import SOURCE_KINDS, Card
from losslab.cli import app
from losslab.params import Params
from tests.conftest import ROOT

PICTURES = sorted((ROOT / "docs/pictures").iterdir())


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = build_site(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def build_site(config: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config), "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_broken_link_fails_the_build(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "docs/README.md").write_text("[nowhere](nowhere.md), [no part](tutorial/own-loss.md#none)\n")
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    config |= {"hooks": [str(ROOT / ".ci/docs.py")], "plugins": [], "nav": ["README.md", "tutorial/own-loss.md"]}
    config["theme"]["custom_dir"] = str(ROOT / ".ci/site")
    config["validation"]["omitted_files"] = "ignore"
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = build_site(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 1 and "nowhere.md" in done.stderr and "#none" in done.stderr


def read_page(site: Path, name: str) -> str:
    return (site / f"{name}.html").read_text(encoding="utf-8")


def list_keys(model: type[BaseModel]) -> Iterator[str]:
    """The names of all fields of a section, and of those below it."""
    for name, field in model.model_fields.items():
        yield name
        for inner in [field.annotation, *getattr(field.annotation, "__args__", ())]:
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from list_keys(inner)


def list_commands(name: str, command: Any) -> Iterator[tuple[str, list[str]]]:
    yield name, [option for param in command.params for option in param.opts if option.startswith("--")]
    for inner in getattr(command, "commands", {}).values():
        yield from list_commands(f"{name} {inner.name}", inner)


def test_params_are_all_described(site: Path) -> None:
    rows = re.findall(r"<tr>\s*<td><code>([\w.\[\]]+)</code></td>(.*?)</tr>", read_page(site, "reference/params"), re.S)
    described = {key: re.findall(r"<td>(.*?)</td>", cells, re.S) for key, cells in rows}
    sections = {"download", "prepare", "train", "evaluate", "report", "split", "mlflow"}
    assert {key.rpartition(".")[2] for key in described} >= set(list_keys(Params)) - sections
    assert [key for key, cells in described.items() if "." in key and not all(cells)] == []
    value, allowed, meaning = described["train.schedule"]
    assert value == "<code>constant</code>"
    assert "<code>one_cycle</code>" in allowed
    assert meaning


def test_keys_of_cards_are_all_described(site: Path) -> None:
    page = read_page(site, "reference/cards")
    keys = set(re.findall(r"<td><code>([\w.\[\]]+)</code></td>", page))
    models: list[type[BaseModel]] = [Card, *SOURCE_KINDS.values()]
    assert {re.split(r"[.]", key)[-1] for key in keys} >= {name for model in models for name in list_keys(model)} - {
        "source"
    }
    assert {"source.archives[].md5", "bands.names", "bands.scaling.percentiles", "bands.scaling.std"} <= keys


def test_commands_and_their_options_are_all_described(site: Path) -> None:
    page = read_page(site, "reference/cli")
    for name, options in list_commands("losslab", get_command(app)):
        assert name == "losslab" or f"<code>{name}</code>" in page
        for option in set(options) - {"--help", "--install-completion", "--show-completion"}:
            assert option in page


def test_python_api_is_all_described(site: Path) -> None:
    page = read_page(site, "reference/api")
    names = [f"losslab.{name}" for name in losslab.__all__] + [
        f"losslab.plugins.{name}" for name in losslab.plugins.__all__
    ]
    assert [name for name in names if f'id="{name}"' not in page] == []


class Loaded(HTMLParser):
    """Addresses that a browser asks for without a click."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag != "a" and not (tag == "link" and values.get("rel") in ("next", "prev", "canonical")):
            self.addresses += [
                values[name] or "" for name in ("src", "srcset", "href", "data", "poster") if name in values
            ]


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    asked = []
    for path in site.rglob("*.html"):
        parser = Loaded()
        text = path.read_text(encoding="utf-8")
        parser.feed(text)
        asked += [(path.name, address) for address in parser.addresses if re.match(r"(\w+:)?//", address)]
        asked += [(path.name, style) for style in re.findall(r"@import[^;]+|url\([^)]*//[^)]*\)", text)]
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        asked += [(path.name, style) for style in re.findall(r"@import[^;]+|url\(['\"]?(?:https?:)?//[^)]*\)", text)]
    assert asked == []
    assert (site / "assets/javascripts/iframe-worker.js").is_file()  # else the search of opened files loads it


def test_scripts_load_nothing_from_elsewhere(site: Path) -> None:
    """The theme's scripts know two hosts: for diagrams (and browsers before 2020), and for facts of a repository."""
    hosts = set()
    for path in (site / "assets/javascripts").glob("**/*.min.js"):
        if path.parent.name != "min":  # other languages than English, which nothing loads
            hosts |= set(re.findall(r"""["'`](https?://[^/"'`$]+)""", path.read_text(encoding="utf-8")))
    assert hosts <= {"https://unpkg.com", "https://api.github.com"}
    pages = [path.read_text(encoding="utf-8") for path in site.rglob("*.html")]
    assert [page for page in pages if 'class="mermaid"' in page or 'data-md-component="source"' in page] == []


def test_search_works_in_pages_opened_as_files(site: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.click("input[name=query]")
        page.keyboard.type("early_stopping")
        page.wait_for_selector(".md-search-result__item a", state="attached")
        found = page.locator(".md-search-result__item a").first.get_attribute("href")
        assert found is not None and found.endswith("reference/params.html")
        chromium.close()
    assert [address for address in asked if not address.startswith(("file:", "data:", "blob:"))] == []


def test_no_file_holds_the_date_of_the_build(site: Path) -> None:
    today = datetime.now(UTC).date().isoformat().encode()
    files = [path for path in site.rglob("*") if path.is_file()]
    assert [path.name for path in files if path.suffix == ".gz" or today in path.read_bytes()] == []


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_pictures_are_small_and_shown(path: Path) -> None:
    assert any(f"pictures/{path.name})" in page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*/*.md"))
    assert path.stat().st_size < 250_000
    assert sum(picture.stat().st_size for picture in PICTURES) < 800_000


def test_index_names_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    pages = (path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob("*/*.md"))
    assert [page for page in pages if f"({page})" not in index] == []


def test_links_of_pages_lead_to_files() -> None:
    """On a host of the repository too, where no site is built."""
    lost = []
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").glob("*.md")]:
        text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text) + re.findall(r'src="([^"]+)"', text):
            if "://" not in target and not (path.parent / target).exists():
                lost.append(f"{path.relative_to(ROOT)}: {target}")
    assert lost == []
