"""Calls of an MLflow server that end in time: one that hangs, or sends without end, must not delay a run."""

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")
CALL_TIMEOUT_S, CONNECT_TIMEOUT_S = 10.0, 60.0
"""Longest waits for an answer of a server, and for a database, whose tables may have to be made."""
MIN_UPLOAD_BYTES_S = 100_000
"""Bytes a second of the slowest upload that is waited for."""
UPLOADS = ("log_artifact", "log_artifacts", "log_model_artifact")
"""Calls that take an id and the path of a file or folder."""
TRANSFERS = ("download_artifacts", "log_model_artifacts")
"""Calls of commands that somebody watches, which take as long as their files are large."""


class BoundedClient:
    """A client whose calls end in time, whatever the server does; after one that did not, it calls no more."""

    def __init__(self, client: "type[MlflowClient]", uri: str) -> None:
        self._lost: TimeoutError | None = None
        self._client = self._call(client, CALL_TIMEOUT_S if uri.startswith("http") else CONNECT_TIMEOUT_S, uri)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name in TRANSFERS or not callable(call):
            return call
        if name not in UPLOADS:
            return partial(self._call, call, CALL_TIMEOUT_S)

        def upload(owner: str, path: str, *arguments: Any) -> Any:
            files = [file for file in (Path(path), *Path(path).rglob("*")) if file.is_file()]
            size = sum(file.stat().st_size for file in files)
            return self._call(call, CALL_TIMEOUT_S + size / MIN_UPLOAD_BYTES_S, owner, path, *arguments)

        return upload

    def _call(self, call: Callable[..., Any], limit_s: float, *arguments: Any, **options: Any) -> Any:
        if self._lost is not None:
            raise self._lost
        outcome, thread = run_beside(partial(call, *arguments, **options))
        try:
            return outcome.result(limit_s)
        except TimeoutError:
            if outcome.done():  # the client's own
                raise
            self._lost = TimeoutError(f"no answer in {limit_s:.0f} s")
            # Else it would read, and keep, whatever a server sends that never ends.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
            raise self._lost from None


def run_beside(call: Callable[[], T]) -> tuple[Future[T], threading.Thread]:
    """Call a function in a thread that no process waits for at its end."""
    outcome = Future[T]()

    def work() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return outcome, thread
