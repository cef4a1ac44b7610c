import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from losslab.cli import app
from losslab.losses import available, build_loss


def test_losses_lists_each_on_a_line_of_its_own() -> None:
    done = CliRunner().invoke(app, ["losses"])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == available()
    assert "dice+0.01:0.1*boundary" in done.output and "class_weights=null" in done.output


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
    monkeypatch.setattr("losslab.losses.available", lambda: ["dice"])
    done = CliRunner().invoke(app, ["losses", "--cards"])
    assert done.exit_code == 0, done.output
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["losses.html"]


def test_cards_that_cannot_be_written_are_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("losslab.losses.available", lambda: ["dice"])
    (tmp_path / "reports").write_text("a file, not a folder", encoding="utf-8")
    done = CliRunner().invoke(app, ["losses", "--cards"])
    assert done.exit_code == 1
    assert done.output.strip().splitlines()[-1] == "ERROR: reports: File exists"
