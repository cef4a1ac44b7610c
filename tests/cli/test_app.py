import json
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from importlib import metadata
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import losslab
from losslab import tracking
from losslab.cli import app
from losslab.experiments.finished_runs import RunOutputs
from losslab.losses import available, build_loss
from losslab.losses.registry import LOSSES
from losslab.models import build_model
from losslab.models.cost import measure_arch_cost
from losslab.models.registry import ARCHS
from losslab.models.segmentation_net import SegmentationNet
from tests.conftest import ROOT, TINY_CHANGES, write_params
from tests.study.repository import Repository


def test_sync_takes_the_workspace_for_the_experiment_that_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    same: dict[str, Any] = {
        "baseline": "0" * 40,
        "dataset": "tiny",
        "model_md5": "m",
        "report_md5": "r",
        "root": tmp_path,
        "lock": {"stages": {}},
    }
    runs = [RunOutputs(experiment=name, revision=name, params={}, **same) for name in (None, "calm-cat")]
    known: list[str | None] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(RunOutputs, "files", lambda self, paths: nullcontext(tmp_path))
    monkeypatch.setattr("losslab.experiments.finished_runs.list_runs", lambda root: iter(runs))
    monkeypatch.setattr(tracking, "is_recorded", lambda *about: about[3] in known or (about[3] is None and known))
    monkeypatch.setattr(tracking, "rebuild_run", lambda *about: known.append(about[2]))
    done = CliRunner().invoke(app, ["sync"])
    assert done.output == "added calm-cat\nsync: 1 added, 1 already there\n" and known == ["calm-cat"]


def test_losses_lists_each_on_a_line_of_its_own() -> None:
    done = CliRunner().invoke(app, ["losses"])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == available()
    assert "dice+0.01:0.1*boundary" in done.output and "class_weights=null" in done.output


def test_losses_of_an_expression_are_described_with_what_each_option_means() -> None:
    done = CliRunner().invoke(app, ["losses", "0.5*focal+boundary"])
    lines = {line.strip().partition("  ")[0]: line for line in done.output.splitlines()}
    assert done.exit_code == 0 and {"focal", "boundary"} < set(lines)
    assert "2" in lines["gamma"].split() and LOSSES["focal"].meanings["gamma"] in lines["gamma"]
    assert LOSSES["boundary"].absent in done.output
    listed = json.loads(CliRunner().invoke(app, ["losses", "focal", "--json"]).output)
    assert [entry["name"] for entry in listed] == ["focal"]


def test_every_option_of_every_loss_says_what_it_means() -> None:
    for spec in LOSSES.values():
        assert list(spec.meanings) == list(spec.defaults) and all(spec.meanings.values())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["dise"], "did you mean dice?"),
        (["dice", "--cards"], "--cards draws all"),
        (["--json", "--cards"], "--cards draws"),
    ],
)
def test_losses_that_cannot_be_described_end_with_one_line(arguments: list[str], complaint: str) -> None:
    done = CliRunner().invoke(app, ["losses", *arguments])
    assert done.exit_code == 1 and complaint in done.output and len(done.output.splitlines()) == 1


def test_reader_who_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -c 'from losslab.cli import app; app()' losses --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[", "")


@pytest.mark.parametrize("columns", ["90", ""])
def test_tables_are_as_wide_as_columns_says(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = CliRunner().invoke(app, ["losses"]).output.splitlines()
    assert max(map(len, lines[:-1])) <= 90 if columns else len(lines) == len(available()) + 2
    assert {line.split()[0] for line in lines if line} >= set(available())


def test_losses_json_is_enough_to_build_each() -> None:
    listed = json.loads(CliRunner().invoke(app, ["losses", "--json"]).output)
    assert [entry["name"] for entry in listed] == available()
    for entry in listed:
        assert {"kind", "paper", "url", "formula", "absent_class", "stands_alone", "binary", "multiclass"} <= set(entry)
        assert (entry["expression"] == entry["name"]) == entry["stands_alone"]
        for num_classes in (1, 3):
            build_loss(entry["expression"], num_classes)
            build_loss(entry["name"], num_classes, options=entry["options"])


def test_losses_cards_writes_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("losslab.losses.registry.list_losses", lambda: {"dice": LOSSES["dice"]})
    monkeypatch.setattr("os.getloadavg", lambda: (1000.0, 0.0, 0.0))
    done = CliRunner().invoke(app, ["losses", "--cards"])
    assert done.exit_code == 0, done.output
    assert "The machine was busy: a load of 1000.0 on" in (tmp_path / "reports/losses.html").read_text(encoding="utf-8")
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["losses.html"]


def test_cards_that_cannot_be_written_end_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("losslab.losses.registry.list_losses", lambda: {"dice": LOSSES["dice"]})
    (tmp_path / "reports").write_text("a file, not a folder", encoding="utf-8")
    done = CliRunner().invoke(app, ["losses", "--cards"])
    assert done.exit_code == 1
    assert done.output.strip().splitlines()[-1] == "ERROR: reports: File exists"


def test_archs_lists_each_on_a_line_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ["segformer", "dpt", "simple_cnn", "simple_segnet"]
    monkeypatch.setattr("losslab.models.registry.ARCHS", {name: ARCHS[name] for name in listed})
    write_params(tmp_path, TINY_CHANGES | {"encoder": "resnet18", "arch": "segformer"})
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["archs"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == listed
    rows = {line.split()[0]: line.split() for line in lines[1:-1]}
    assert rows["segformer"][1] == "resnet18" and rows["dpt"][1] == "tu-vit_tiny_patch16_224"
    assert rows["simple_cnn"][1:4] == ["7,347", "0.01", "4"]
    assert lines[-1].startswith("One image of 64x64, 3 outputs.")


def test_archs_json_counts_at_the_size_and_on_the_encoder_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("losslab.models.registry.ARCHS", {name: ARCHS[name] for name in ("simple_cnn", "linknet")})
    done = CliRunner().invoke(app, ["archs", "--json", "--size", "50", "--encoder", "resnet18"])
    cnn, linknet = json.loads(done.stdout)
    assert cnn["parameters"] == 7217 and linknet["encoder"] == "resnet18"
    # Images of 50 are padded to 52; convolutions of 3x3 and transposed ones of 2x2, two per multiply-add.
    per_pixel = 3 * 16 * 9 + 16 * 32 * 9 / 4 + 32 * 16 * 4 / 16 + 16 * 1 * 4 / 4
    assert cnn["gflops"] == pytest.approx(2 * 52 * 52 * per_pixel / 1e9, abs=1e-3)


def test_archs_says_where_a_net_cannot_take_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("losslab.models.registry.ARCHS", {"dpt": ARCHS["dpt"]})
    done = CliRunner().invoke(app, ["archs", "--size", "64", "--encoder", "tu-beit_base_patch16_224"])
    assert "not at this size" in done.output
    done = CliRunner().invoke(app, ["archs", "--size", "224", "--encoder", "tu-beit_base_patch16_224"])
    assert "not at this size" not in done.output and "tu-beit_base_patch16_224" in done.output


def test_net_that_cannot_be_built_on_the_meta_device_is_counted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = measure_arch_cost("simple_cnn", 32, 1, None)

    def build(*arguments: Any, **options: Any) -> SegmentationNet:
        if torch.empty(0).is_meta:
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        return build_model(*arguments, **options)

    monkeypatch.setattr("losslab.models.cost.build_model", build)
    assert measure_arch_cost("simple_cnn", 32, 1, None) == counted


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "ERROR: params.yaml: no such file; run from the root of the repository, or give --size"),
        (["--size", "64", "--encoder", "resnet81"], "ERROR: encoder: 'resnet81' is unknown to smp and timm"),
    ],
)
def test_archs_that_cannot_be_listed_end_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["archs", *arguments])
    assert done.exit_code == 1 and done.output.splitlines()[-1].startswith(complaint)


WRITTEN_AT_ROOT = [
    ("study list", 0, "small"),
    ("study show small", 0, "Which?"),
    ("losses --cards", 0, "wrote reports/losses.html"),
    ("sync", 0, "skipped workspace: no dvc.lock or params.yaml"),
    ("verify HEAD", 1, "ERROR: HEAD: no dvc.lock or params.yaml"),
    ("reproduce HEAD", 1, "ERROR: HEAD: no dvc.lock or params.yaml"),
    ("compare --runs workspace workspace", 1, "ERROR: workspace: no dvc.lock or params.yaml"),
]


@pytest.mark.parametrize(("command", "code", "line"), WRITTEN_AT_ROOT, ids=[row[0] for row in WRITTEN_AT_ROOT])
def test_commands_find_the_project_from_a_folder_below_it(
    command: str, code: int, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = Repository(tmp_path / "top/project", tmp_path / "top").root / "src/deep"
    below.mkdir(parents=True)
    monkeypatch.setattr("losslab.losses.registry.list_losses", lambda: {"dice": LOSSES["dice"]})
    monkeypatch.setattr("losslab.tracking.list_tracked_runs", lambda root: [])
    monkeypatch.chdir(below)
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == code and line in done.output, done.output
    assert {path.name for path in (tmp_path / "top").iterdir()} == {".git", "project"}
    assert list(below.parent.rglob("*")) == [below]


def test_outside_of_a_project_commands_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("study list", "sync", "verify HEAD", "reproduce HEAD", "compare --runs a b"):
        done = CliRunner().invoke(app, command.split())
        (line,) = done.output.splitlines()
        assert done.exit_code == 1 and line.startswith("ERROR: "), done.output
    assert not list(tmp_path.iterdir())


def test_version_is_that_of_the_package() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.output.strip() == losslab.__version__ == metadata.version("losslab")


def test_interrupt_while_the_commands_are_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupt(MetaPathFinder):
        def find_spec(self, name: str, *about: object) -> None:
            if name == "losslab.cli":
                raise KeyboardInterrupt

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    monkeypatch.delitem(sys.modules, "losslab.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupt(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        metadata.EntryPoint("losslab", scripts["losslab"], "console_scripts").load()()
    assert ended.value.code == 130 and capsys.readouterr().err == "ERROR: interrupted: run the same command again\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "soup"], "--output needs --average weights: averaged probabilities are of no single net"),
        (["--average", "weights", "-o", "models"], "--output: models holds the net of the workspace's run"),
    ],
)
def test_soup_is_written_where_it_can_be(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["ensemble", "a", "b", *options])
    assert done.exit_code == 1 and done.stderr.startswith(f"ERROR: {message}")
    assert not list(tmp_path.iterdir())
