"""The frame of `make servers`: servers start and end, and a step that fails is named. The servers themselves it needs not."""

import signal
import sys
from pathlib import Path

import pytest

from tests.runtime.test_processes import wait_until_gone
from tests.servers import services
from tests.servers.__main__ import run_steps
from tests.servers.services import ServiceError, Services, answers, find_port, find_postgres


def test_server_is_waited_for_and_ended(tmp_path: Path) -> None:
    port, started = find_port(), Services(tmp_path)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    process = started.start("web", command, lambda: answers(url))
    assert answers(url)
    started.close()
    wait_until_gone(process.pid)
    assert not answers(url) and process.wait() in (-signal.SIGTERM, 0)


def test_server_that_does_not_start_is_told_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="web does not start: no such thing"):
        Services(tmp_path).start("web", [sys.executable, "-c", "exit('no such thing')"], lambda: False)


def test_missing_postgres_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "PLACES", Path("/nowhere"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServiceError, match=r"PostgreSQL is not installed: apt install postgresql"):
        find_postgres()


def test_step_that_fails_is_named_and_its_logs_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def go_well() -> None:
        pass

    def break_down() -> None:
        raise AssertionError("no such bucket")

    assert not run_steps([go_well, break_down, go_well], tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "go_well" and len(lines) == 3
    assert (
        lines[1].startswith("break_down: FAILED after") and str(tmp_path) in lines[1] and lines[2] == "no such bucket"
    )
    assert run_steps([go_well], tmp_path)
