"""`losslab docs`: the pages that messages name, where the repository is not at hand."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from losslab.cli import app, docs
from tests.conftest import ROOT

PAGES = {path.stem: path for path in (ROOT / "docs").glob("*/*.md")}


def test_every_page_has_a_name_of_its_own_and_a_line() -> None:
    assert len(PAGES) == len(list((ROOT / "docs").glob("*/*.md")))
    lines = CliRunner().invoke(app, ["docs"]).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["own-loss", "advise"]
    assert {line.split()[0] for line in lines[1:-1]} == set(PAGES)
    assert any(re.match(r"losses +reference +Losses\s*$", line) for line in lines)


@pytest.mark.parametrize("name", ["losses", "losses.md", "docs/reference/losses.md"])
def test_page_is_plain_text_in_a_pipe(name: str) -> None:
    done = CliRunner().invoke(app, ["docs", name])
    assert done.exit_code == 0
    assert done.stdout == PAGES["losses"].read_text(encoding="utf-8")


def test_comments_for_the_site_are_left_out() -> None:
    assert "<!--" not in CliRunner().invoke(app, ["docs", "params"]).stdout


def test_page_is_set_for_a_terminal() -> None:
    reader, writer = pty.openpty()
    code = "import sys; from losslab.cli import app; sys.argv = ['losslab', 'docs', 'splits']; app()"
    environment = os.environ | {"PAGER": "cat", "TERM": "xterm-256color", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=writer, stderr=writer, stdin=writer, env=environment
    )
    os.close(writer)
    shown = b""
    try:
        while piece := os.read(reader, 65536):
            shown += piece
    except OSError:  # the terminal is gone with the process
        pass
    assert process.wait(timeout=60) == 0
    assert b"\x1b[" in shown
    assert b"# Splits" not in shown
    assert b"Splits" in shown


@pytest.mark.parametrize(
    ("name", "close"), [("lossses", "did you mean losses?"), ("?", "`losslab docs` lists the pages")]
)
def test_unknown_page_is_one_line_with_the_nearest(name: str, close: str) -> None:
    done = CliRunner().invoke(app, ["docs", name])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"ERROR: no such page: '{name}'; {close}\n"


def test_installed_package_has_the_pages_of_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "how-to").mkdir()
    (tmp_path / "how-to/other.md").write_text("# Another page\n", encoding="utf-8")
    monkeypatch.setattr(docs, "CARRIED", tmp_path)
    assert CliRunner().invoke(app, ["docs", "other"]).stdout == "# Another page\n"


def test_pages_that_messages_name_exist() -> None:
    named = set()
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "studies").glob("*.yaml"), *ROOT.glob("examples/*")]:
        named |= set(re.findall(r"losslab docs ([a-z-]+)", path.read_text(encoding="utf-8")))
    assert named <= set(PAGES)
    assert len(named) > 5
