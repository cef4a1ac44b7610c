"""The tutorial's loss and study: what it shows is what losslab says."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from losslab.cli import app
from losslab.study.spec import read_spec
from tests.conftest import ROOT

TEXT = (ROOT / "docs/tutorial/own-loss.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.M | re.S)
FIRST, MENDED_LINE = (code for kind, code in BLOCKS if kind == "python")


def test_first_try_fails_as_shown_and_passes_once_mended(
    write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    write("log_dice.py", FIRST)
    done = CliRunner().invoke(app, ["losses", "check", "log_dice"])
    shown = next(code for kind, code in BLOCKS if code.startswith("verdict")).splitlines()
    said = [line.rstrip() for line in done.output.splitlines()]
    assert [line for line in shown if line != "…" and line not in said] == []
    assert done.exit_code == 1

    line = 1 + FIRST.splitlines().index("    pixels = (0, 2, 3)")
    assert f"in line {line} of the file" in TEXT
    write("log_dice.py", FIRST.replace("    pixels = (0, 2, 3)\n", MENDED_LINE))
    done = CliRunner().invoke(app, ["losses", "check", "log_dice"])
    assert (done.exit_code, "FAIL" in done.output) == (0, False)


def test_study_is_one(tmp_path: Path) -> None:
    text = next(code for kind, code in BLOCKS if kind == "yaml")
    (tmp_path / "log_dice.yaml").write_text(text, encoding="utf-8")
    assert read_spec("log_dice", tmp_path).seeds == [0, 1, 2]
