"""MLflow's own server on this machine, in this process, which can be lost and come back."""

import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlflow
from mlflow import MlflowClient


@dataclass
class Server:
    port: int
    store: MlflowClient
    """What the server knows, without it."""
    lost: threading.Event = field(default_factory=threading.Event)
    """Set: it answers 404 to whatever is asked, as a proxy does whose server is gone."""

    def build_uri(self, credentials: str = "") -> str:
        return f"http://{credentials}127.0.0.1:{self.port}"


@contextmanager
def serve_mlflow(folder: Path) -> Iterator[Server]:
    with warnings.catch_warnings(action="ignore"):
        from mlflow.server import app
        from mlflow.server.handlers import initialize_backend_stores
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: Any) -> None:
            pass

    uri = f"sqlite:///{folder / 'server.db'}"
    with patch.dict(os.environ):  # the server takes its store for that of all clients in this process
        initialize_backend_stores(uri, uri, str(folder / "artifacts"))
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        mlflow.set_registry_uri(None)  # type: ignore[arg-type]
    state: list[Server] = []

    def answer(environ: Any, start_response: Any) -> Any:
        if state[0].lost.is_set():
            start_response("404 Not Found", [])
            return []
        return app(environ, start_response)

    server: Any = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=Quiet)
    server.block_on_close = False  # clients keep their connections
    state.append(Server(server.port, MlflowClient(uri)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state[0]
    finally:
        server.shutdown()
        thread.join()


class Trap(threading.Thread):
    """A server that answers no request: it hangs, or sends spaces without end, fast or one by one."""

    def __init__(self, kind: str) -> None:
        super().__init__(daemon=True)
        self.kind = kind
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.left = threading.Event()
        """Set: a client has gone while it was being answered."""

    def run(self) -> None:
        kept = []
        while True:
            connection, _ = self.listening.accept()
            kept.append(connection)
            if self.kind != "hangs":
                threading.Thread(target=self._send, args=(connection,), daemon=True).start()

    def _send(self, connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        pause_s, spaces = (0.0, b" " * (1 << 16)) if self.kind == "floods" else (0.02, b" ")
        try:
            while True:
                connection.sendall(spaces)
                time.sleep(pause_s)
        except OSError:
            self.left.set()
