"""`losslab init` and `losslab upgrade`: what a project holds, what they leave alone, and what runs again."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from losslab.cli import app
from losslab.errors import InputError
from losslab.experiments.clone import STAGES
from losslab.io.git import find_repository
from losslab.io.yaml import parse_yaml
from losslab.project import code, template
from losslab.project.code import RECORD, check_code, read_record
from losslab.project.new_params import add_missing_keys
from losslab.project.template import LOCK
from tests.conftest import ROOT

OF_PROJECTS_ALONE = {
    ".devcontainer/devcontainer.json",
    ".github/workflows/reproduce.yml",
    "Dockerfile",
    "README.md",
    LOCK,
    RECORD,
}


def init(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["init", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def upgrade(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["upgrade", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def list_files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    init("cells")
    monkeypatch.chdir(tmp_path / "cells")
    return tmp_path / "cells"


def test_a_project_is_this_repository_without_losslab_itself(project: Path) -> None:
    made = list_files(project)
    assert set(made) >= OF_PROJECTS_ALONE
    for path in set(made) - OF_PROJECTS_ALONE - {"dvc.yaml"}:
        assert made[path] == (ROOT / path).read_bytes(), path
    here, there = (yaml.safe_load(text)["stages"] for text in ((ROOT / "dvc.yaml").read_bytes(), made["dvc.yaml"]))
    for stage in STAGES:
        own = [dep for dep in here[stage]["deps"] if not dep.startswith("src/losslab/")]
        assert there[stage].pop("deps") == own and here[stage].pop("deps")
        assert there[stage].pop("params") == [{RECORD: [f"code.{stage}"]}, *here[stage].pop("params")]
        assert there[stage] == here[stage]
    assert find_repository(project) == project
    assert yaml.safe_load(made[RECORD])["code"].keys() == set(STAGES)


def test_requirements_are_of_the_libraries_that_losslab_needs(project: Path) -> None:
    pins = dict(line.split("==") for line in (project / LOCK).read_text().splitlines() if not line.startswith("#"))
    assert {"losslab", "torch", "dvc", "mlflow", "numpy"} <= set(pins)
    assert not {"pytest", "ruff", "mypy", "ray"} & set(pins)  # of its developers, and of an extra
    assert "+" not in "".join(pins.values())  # a local version, which no index has


def test_environments_have_the_python_that_the_lock_was_made_with(project: Path) -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"FROM python:{python}-slim" in (project / "Dockerfile").read_text()
    assert f"/python:{python}" in (project / ".devcontainer/devcontainer.json").read_text()
    assert f'python-version: "{python}"' in (project / ".github/workflows/reproduce.yml").read_text()
    assert "uv pip compile --generate-hashes" in (project / LOCK).read_text()


def test_init_in_a_subfolder_of_a_repository_changes_nothing_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    folder = tmp_path / "my cells"
    theirs = {"README.md": "mine", ".gitignore": "/scratch\n/models/", "studies/demo.yaml": "title: mine\n"}
    for path, text in theirs.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    monkeypatch.chdir(folder)
    output = init()
    assert "kept README.md, which is not losslab's" in output and "kept studies/demo.yaml" in output
    assert not (folder / ".git").exists() and "cd " not in output
    made = list_files(folder)
    assert made["README.md"] == b"mine" and made["studies/demo.yaml"] == b"title: mine\n"
    lines = made[".gitignore"].decode().splitlines()
    assert lines[:2] == ["/scratch", "/models/"] and "/.losslab/" in lines and lines.count("/models/") == 1
    workflow = (tmp_path / ".github/workflows/reproduce-my-cells.yml").read_text(encoding="utf-8")
    parsed = yaml.safe_load(workflow)
    assert parsed[True]["pull_request"]["paths"] == ["my cells/**"]  # YAML 1.1 takes `on` for true
    assert parsed["defaults"]["run"]["working-directory"] == "my cells" and parsed["env"]["MARK"].count("my cells") == 1
    assert not re.search("@[A-Z]+@", workflow + "".join(made[path].decode() for path in made if path != LOCK))
    assert 'WORKDIR "/repository/my cells"' in made["Dockerfile"].decode()  # DVC needs the Git repository around it
    assert upgrade() == "this project is of losslab 0.1.0, which is installed\n"


def test_projects_of_one_name_in_two_folders_have_a_workflow_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    for folder in ("a/cells", "b/cells"):
        assert "kept" not in init(folder)
        workflow = tmp_path / f".github/workflows/reproduce-{folder.replace('/', '-')}.yml"
        assert f'paths: ["{folder}/**"]' in workflow.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ["dvc.yaml", "params.yaml", "src/train.py"])
def test_init_refuses_a_folder_with_another_pipeline_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("mine")
    monkeypatch.chdir(tmp_path)
    output = init(code=1)
    assert f"{path} would have to be losslab's" in output and "nothing was written" in output
    assert list_files(tmp_path) == {path: b"mine"}


def test_init_names_a_file_in_the_way_a_project_and_losslab_itself(project: Path) -> None:
    Path("file").write_text("")
    assert "file: it is a file" in init("file", code=1) and "file: it is a file" in init("file/inside", code=1)
    assert "it is a losslab project" in init(code=1)
    assert "it is in losslab's own repository" in init(str(ROOT / "new"), code=1) and not (ROOT / "new").exists()


def test_init_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("losslab.project.create.run_git", raise_interrupt)
    assert CliRunner().invoke(app, ["init"]).exit_code == 130
    assert not Path(RECORD).exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert "wrote 0 files, made a Git repository" in init()
    assert Path(RECORD).exists()


def raise_interrupt(*arguments: Any) -> None:
    raise KeyboardInterrupt


def test_dvc_of_before_gets_the_plots_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    remote = mine\n['remote \"mine\"']\n    url = ../store")
    monkeypatch.chdir(tmp_path)
    init()
    from dvc.config import Config

    config = Config(str(tmp_path / ".dvc"))
    assert config["plots"]["html_template"] == "plots/page.html" and config["core"]["remote"] == "mine"
    assert "analytics" not in (tmp_path / ".dvc/config").read_text()


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Install a losslab with other files, and another train."""

    def install(files: dict[str, bytes | None]) -> None:
        hashes = {**code.compute_code_hashes(), "train": "other"}
        read = template.read_template
        for module in ("create", "upgrade"):
            monkeypatch.setattr(
                f"losslab.project.{module}.read_template",
                lambda *places: {k: v for k, v in {**read(*places), **files}.items() if v is not None},
            )
        for module in ("code", "upgrade"):
            monkeypatch.setattr(f"losslab.project.{module}.compute_code_hashes", lambda *stages: hashes)
        monkeypatch.setattr("losslab.project.upgrade.get_version", lambda: "0.2.0")

    return install


def test_upgrade_replaces_what_is_losslabs_and_leaves_what_is_changed(
    project: Path, newer: Callable[[dict[str, bytes | None]], None]
) -> None:
    params = (project / "params.yaml").read_text(encoding="utf-8").replace("epochs: 10", "epochs: 3")
    (project / "params.yaml").write_text(params, encoding="utf-8")
    (project / "studies/demo.yaml").write_text("title: mine\n")
    (project / "Dockerfile").unlink()
    (project / "src/own.py").write_text("pass")
    ours = (project / "params.yaml").read_bytes()
    script = (project / "src/report.py").read_bytes() + b"# new\n"
    newer(
        {
            "src/report.py": script,
            "studies/demo.yaml": b"title: theirs\n",
            "studies/new.yaml": b"title: new\n",
            "studies/pets_losses.yaml": None,
            "Dockerfile": b"FROM other\n",
            ".gitignore": (project / ".gitignore").read_bytes() + b"/new/\n",
        }
    )
    before = list_files(project)
    planned = upgrade("--dry-run")
    assert list_files(project) == before and "(nothing was changed)" in planned
    output = upgrade()
    assert output.replace("losslab 0.1.0 -> 0.2.0", "") == planned.replace(
        "losslab 0.1.0 -> 0.2.0 (nothing was changed)", ""
    )
    assert "+# new" in output and "-title: mine\n+title: theirs\n" in output
    for line in (
        "updated src/report.py",
        "updated .gitignore",
        "added studies/new.yaml",
        "removed studies/pets_losses.yaml",
        "left studies/demo.yaml, which you changed: take over what you want of its difference above",
        "runs again at the next dvc repro: train and report, and what follows from changed outs",
    ):
        assert line in output.splitlines()
    after = list_files(project)
    assert after["params.yaml"] == ours and after["studies/demo.yaml"] == b"title: mine\n" and "Dockerfile" not in after
    assert after["src/report.py"] == script and "studies/pets_losses.yaml" not in after
    assert before.keys() - after.keys() == {"studies/pets_losses.yaml"} and after.keys() - before.keys() == {
        "studies/new.yaml"
    }
    record = read_record(project)
    assert record is not None and record["code"]["train"] == "other"


def test_upgrade_adds_the_keys_that_changed_params_lack(
    project: Path, newer: Callable[[dict[str, bytes | None]], None]
) -> None:
    shipped = (project / "params.yaml").read_text(encoding="utf-8")
    mine = shipped.replace("epochs: 10", "epochs: 3").replace("loss_options: {}", "loss_options:\n  gamma: 3.0")
    (project / "params.yaml").write_text(mine, encoding="utf-8")
    added = shipped.replace("    fold: 0", "    purity: 1 # new\n    fold: 0")
    added = added.replace("\narch:", "\nloss_scale: 1.0\narch:") + "\nserve:\n  port: 80\n"
    newer({"params.yaml": added.encode()})
    assert "updated params.yaml" in upgrade().splitlines()
    got = (project / "params.yaml").read_text(encoding="utf-8")
    assert set(got.splitlines()) - set(mine.splitlines()) == {
        "    purity: 1 # new",
        "loss_scale: 1.0",
        "serve:",
        "  port: 80",
    }
    assert parse_yaml(got)["prepare"]["split"]["purity"] == 1 and parse_yaml(got)["loss_options"] == {"gamma": 3.0}
    assert "params.yaml" not in upgrade()


@pytest.mark.parametrize(
    ("mine", "ours"),
    [
        ("seed: 1\r\nb: 2\r\n", "seed: 0\n"),
        ("seed: 1", "seed: 0\n"),
        ("evaluate: {tta: none}\n", "evaluate:\n  tta: none\n  metrics: {}\n"),
        ("a: [1\n", "a: 1\nb: 2\n"),
        ("- 1\n", "b: 2\n"),
    ],
)
def test_params_of_another_form_are_left(mine: str, ours: str) -> None:
    assert add_missing_keys(mine, ours) == mine


def test_lines_end_as_they_did() -> None:
    mine, ours = "b: 2\r\nseed: 1\r\n", "seed: 0\nloss: dice # name\n"
    assert add_missing_keys(mine, ours) == f"{mine}loss: dice # name\r\n"
    assert add_missing_keys("seed: 1 # ü", "seed: 0\nloss: dice\n") == "seed: 1 # ü\nloss: dice"


def test_params_that_are_not_utf8_are_left(project: Path, newer: Callable[[dict[str, bytes | None]], None]) -> None:
    (project / "params.yaml").write_bytes(b"seed: 0 # f\xfcr\n")
    newer({"params.yaml": b"seed: 0\nloss: dice\n"})
    assert "left params.yaml, which you changed" in upgrade()


@given(st.data())
@settings(max_examples=25)
def test_missing_keys_are_added_wherever_they_are(data: st.DataObject) -> None:
    shipped = (ROOT / "params.yaml").read_text(encoding="utf-8")
    kept: list[str] = []
    for line in shipped.splitlines():
        can_go = re.match(r" *\w+: *[^ #]", line) and not (kept and kept[-1].split(" #")[0].endswith(":"))
        kept += [] if can_go and data.draw(st.booleans()) else [line]
    merged = add_missing_keys("\n".join(kept) + "\n", shipped)
    assert parse_yaml(merged) == parse_yaml(shipped) and set(kept) <= set(merged.splitlines())


def test_copy_of_a_project_under_another_name_keeps_its_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(project, project.with_name("a clone")))
    assert upgrade() == "this project is of losslab 0.1.0, which is installed\n"


def test_upgrade_names_all_stages_that_run_again(project: Path) -> None:
    Path(RECORD).write_text(re.sub(r"^  (\w+): \w+$", r"  \1: other", Path(RECORD).read_text(), flags=re.MULTILINE))
    assert "plugins, download, prepare, train, evaluate and report, and what follows" in upgrade("--dry-run")


def test_stage_refuses_a_losslab_that_the_project_is_not_of(
    project: Path, newer: Callable[[dict[str, bytes | None]], None]
) -> None:
    for stage in STAGES:
        check_code(stage, project)
    check_code("train", ROOT)  # its code itself is a dep of its stages
    newer({})
    check_code("prepare", project)
    with pytest.raises(InputError, match=r"of losslab 0\.1\.0, .* has other code for train: run `losslab upgrade`$"):
        check_code("train", project)


def test_stage_reads_its_own_code_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def compute(path: Path) -> str:
        read.append(path.name)
        return "of another losslab"

    monkeypatch.setattr(code, "_compute_md5", compute)
    code.compute_code_hashes.cache_clear()
    with pytest.raises(InputError, match="has other code for download"):
        check_code("download", project)
    code.compute_code_hashes.cache_clear()
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_bytes())["stages"]["download"]["deps"]
    assert sorted(read) == sorted(Path(dep).name for dep in deps if dep.startswith("src/losslab/"))


def test_broken_record_and_no_project_are_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("version: 0.1.0\ncode: [1]\n", "code: {}\nfiles: {}\n", "version: 1\ncode: {}\nfiles: {}\n", "[1]\n"):
        Path(RECORD).write_text(text)
        assert "losslab.yaml: it must have version, code and files" in upgrade(code=1)
    Path(RECORD).unlink()
    assert "losslab.yaml: no such file, so this is no project" in upgrade(code=1)
    monkeypatch.chdir(ROOT / "docs")
    assert "this is losslab's own repository: `git pull` moves it" in upgrade(code=1)


def test_hash_of_a_stage_is_that_of_the_code_it_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = {}
    for name, changed in (("same", None), ("loss", "losses/dice_like.py"), ("command", "cli/new.py")):
        package = tmp_path / name / "losslab"
        shutil.copytree(ROOT / "src/losslab", package)
        (package / "project/template").mkdir()
        shutil.copy(ROOT / "dvc.yaml", package / "project/template/dvc.yaml")
        if changed:
            (package / changed).write_text("pass\n")
        monkeypatch.setattr(code, "_PACKAGE", package)
        hashes[name] = code.compute_code_hashes.__wrapped__()
    assert hashes["same"] == code.compute_code_hashes() == hashes["command"]
    assert {stage for stage in STAGES if hashes["loss"][stage] != hashes["same"][stage]} == {"train"}
