"""Every command ends with one line and the right exit code, whatever goes wrong in it."""

import ast
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer
from typer.testing import CliRunner

import losslab.api.verdict
import losslab.study.state  # noqa: F401
from losslab.cli import app
from losslab.errors import InputError
from tests.conftest import ROOT

FIND_STUDY = "losslab.study.state.find_study"
FIND_RECORD = "losslab.experiments.run_finder.find_record"
COMMANDS = [
    ("sync", "", "losslab.experiments.finished_runs.list_runs"),
    ("init", "cells", "losslab.project.create.create_project"),
    ("upgrade", "", "losslab.project.upgrade.plan_upgrade"),
    ("docs", "", "losslab.cli.docs.print_table"),
    ("losses list", "--json", "losslab.cli.losses.print_json"),
    ("losses check", "dice", "losslab.reporting.losses.checks.battery.check_loss"),
    ("archs", "--size 64", "losslab.models.cost.measure_arch_cost"),
    ("datasets", "", "losslab.data.catalog.read_catalog"),
    ("datasets new", "cells --images i --masks m", "losslab.data.new_dataset.create.create_dataset"),
    ("datasets doubt", "cells", "losslab.suspects.folds.find_dataset"),
    ("advise", "cells", "losslab.advice.dataset.read_card"),
    ("predict", "a.png -o masks", "losslab.prediction.inputs.find_jobs"),
    ("ensemble", "fold-0 fold-1", "losslab.experiments.run_finder.RunFinder"),
    ("export", "--format onnx", "losslab.export.export.export_model"),
    ("register", "workspace --name lesions", "losslab.serving.register.register_model"),
    ("study list", "", "losslab.study.spec.list_studies"),
    ("study show", "demo", FIND_STUDY),
    ("study run", "demo --set train.epochs=1", FIND_STUDY),
    ("study status", "demo", FIND_STUDY),
    ("study stop", "demo", FIND_STUDY),
    ("compare", "demo", FIND_STUDY),
    ("ui", "", "losslab.tracking.pages.choose_page"),
    ("doubt", "table.yaml", "losslab.comparison.paper_table.read_paper_table"),
    ("verify", "demo-dice-unet-s0", FIND_RECORD),
    ("reproduce", "demo-dice-unet-s0", FIND_RECORD),
]
"""Command, arguments, and a function that it calls."""


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def fail(error: BaseException) -> Callable[[], NoReturn]:
    def raise_error() -> NoReturn:
        raise error

    return raise_error


FAILURES: list[Any] = [
    pytest.param(fail(InputError("loss: 'dise' is\nunknown")), 1, "ERROR: loss: 'dise' is unknown", id="InputError"),
    pytest.param(
        fail(InputError("\x1b]0;a http://me:hunter2@h/: no")),
        1,
        r"ERROR: \u001b]0;a http://***@h/: no",
        id="hostile text",
    ),
    pytest.param(fail(OSError(28, "No space left", "a/b")), 1, "ERROR: a/b: No space left", id="OSError"),
    pytest.param(fail(MemoryError()), 1, "ERROR: out of memory", id="MemoryError"),
    pytest.param(fail(OSError(12, "Cannot allocate memory")), 1, "ERROR: out of memory", id="ENOMEM"),
    pytest.param(fail(KeyboardInterrupt()), 130, "ERROR: interrupted: ", id="KeyboardInterrupt"),
    pytest.param(terminate, 143, "ERROR: interrupted: ", id="SIGTERM"),
]


def list_commands(command: Any, name: str = "") -> Iterator[str]:
    """Yield the names of all commands that can be run, with their groups."""
    subcommands = getattr(command, "commands", {})
    if not subcommands or command.invoke_without_command:
        yield name
    for part, subcommand in subcommands.items():
        yield from list_commands(subcommand, f"{name} {part}".strip())


def test_table_has_every_command() -> None:
    assert sorted(name for name, *_ in COMMANDS) == sorted(list_commands(typer.main.get_command(app)))


@pytest.mark.parametrize(("trigger", "code", "line"), FAILURES)
@pytest.mark.parametrize(("command", "arguments", "target"), COMMANDS, ids=[name for name, *_ in COMMANDS])
def test_failure_in_a_command_ends_with_one_line(
    command: str,
    arguments: str,
    target: str,
    trigger: Callable[[], None],
    code: int,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(target, lambda *_, **__: trigger())
    handler, on_interrupt = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    done = CliRunner().invoke(app, [*command.split(), *arguments.split()])
    on_second = signal.signal(signal.SIGINT, on_interrupt)
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.startswith(line) and len(done.stderr.splitlines()) == 1
    assert isinstance(done.exception, SystemExit)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert on_second is (signal.SIG_DFL if code > 128 else on_interrupt), "a second Ctrl+C must leave no traceback"


def test_interrupted_study_says_how_to_resume_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(FIND_STUDY, lambda *_: terminate())
    done = CliRunner().invoke(app, ["study", "run", "demo", "--set", "train.epochs=1", "--as", "quick"])
    resume = "losslab study run demo --set train.epochs=1 --as quick"
    assert done.stderr == f"ERROR: interrupted: run `{resume}` to resume\n"


def test_error_that_is_no_ones_fault_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("losslab.data.catalog.read_catalog", fail(RuntimeError("a bug")))
    assert isinstance(CliRunner().invoke(app, ["datasets"]).exception, RuntimeError)


def test_everything_is_printed_as_a_clean_line() -> None:
    assert not [path for path in (ROOT / "src").rglob("*.py") if "echo(" in path.read_text(encoding="utf-8")]


def test_only_the_console_handles_errors_and_signals() -> None:
    for path in (ROOT / "src/losslab/cli").glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        caught = {
            name.id
            for node in nodes
            if isinstance(node, ast.ExceptHandler) and node.type is not None
            for name in ast.walk(node.type)
            if isinstance(name, ast.Name)
        }
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        if path.name == "console.py":
            assert {"InputError", "OSError", "KeyboardInterrupt"} <= caught and "signal" in imported
        else:
            assert not {"InputError", "OSError", "KeyboardInterrupt"} & caught and "signal" not in imported, path
