"""Set-up as make decides it: nothing when all is there, again when the lock changed, one line when Python is too old."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

STAMP = ".venv/.losslab-synced"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copyfile(ROOT / name, tmp_path / name)
        os.utime(tmp_path / name, (1000, 1000))
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_set_up_runs_once_and_again_when_the_lock_changes(folder: Path) -> None:
    assert make(folder, "--question", "setup").returncode == 1
    (folder / ".venv").mkdir()
    (folder / STAMP).touch()
    assert make(folder, "--question", "setup").returncode == 0
    (folder / "requirements.lock").touch()
    os.utime(folder / STAMP, (2000, 2000))
    assert make(folder, "--question", "setup").returncode == 1


def test_python_that_is_too_old_ends_with_one_line(folder: Path) -> None:
    old = folder / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.1 && exit 0\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    done = make(folder, "setup", f"PYTHON={old}")
    assert done.returncode != 0
    assert f"losslab needs Python 3.11 or newer; {old} is Python 3.9.1. Install one" in done.stderr
    assert not (folder / ".venv").exists()


def test_lock_has_hashes_and_no_address(folder: Path) -> None:
    lock = (folder / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    packages = [line for line in lock.splitlines() if "==" in line and not line.startswith("#")]
    assert lock.count("--hash=sha256:") >= len(packages) > 100
