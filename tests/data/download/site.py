"""A web server on this machine that behaves as a test wants: it stalls, cuts off, redirects, refuses, or sends ranges."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = False
    """Whether it honours Range."""
    sends: int | None = None
    """Number of bytes of the body after which it cuts off, or stalls."""
    stalls: bool = False
    chunked: bool = False
    """Whether there is no Content-Length, so that the end of the connection is the end."""
    pause_s: float = 0.0
    """Pause after each 64 kB."""


@dataclass
class Site:
    url: str
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    """Answers by path; the last one of a list is given again and again."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Paths and Range headers of all requests."""
    sent: int = 0
    """Bytes of bodies."""
    closing: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, *answers: Answer) -> str:
        self.answers[f"/{path}"] = list(answers)
        return f"{self.url}/{path}"

    def next_answer(self, path: str) -> Answer:
        answers = self.answers.get(path, [Answer(b"not here", 404)])
        return answers.pop(0) if len(answers) > 1 else answers[0]


@contextmanager
def serving() -> Iterator[Site]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        site = Site(f"http://127.0.0.1:{server.server_port}")
        server.site = site  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield site
        finally:
            site.closing.set()
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        site: Site = self.server.site  # type: ignore[attr-defined]
        byte_range = self.headers.get("Range")
        site.requests.append((self.path, byte_range))
        answer = site.next_answer(self.path)
        status, headers, body = answer.status, dict(answer.headers), answer.body
        if byte_range and answer.ranges:
            (start,) = map(int, re.findall(r"bytes=(\d+)-$", byte_range))
            if start >= len(body):
                status, headers, body = 416, {"Content-Range": f"bytes */{len(body)}"}, b""
            else:
                status = 206
                headers.setdefault("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                body = body[start:]
        if not answer.chunked:
            headers.setdefault("Content-Length", str(len(body)))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):  # the client has gone
            self._send(site, answer, body if answer.sends is None else body[: answer.sends])
        self.close_connection = True

    def _send(self, site: Site, answer: Answer, body: bytes) -> None:
        for start in range(0, len(body), 1 << 16):
            part = body[start : start + (1 << 16)]
            site.sent += len(part)  # before the client has it, and may go on to look
            self.wfile.write(part)
            time.sleep(answer.pause_s)
        if answer.stalls:
            site.closing.wait(20)
