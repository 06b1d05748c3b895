"""A real web server, and requests written out byte by byte."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.conf import settings

from tests.support.ports import held_port
from tests.support.processes import ROOT, wait_for


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back. `status` is 0 when the server closed the connection without a word."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


@dataclasses.dataclass(frozen=True)
class Server:
    port: int
    storage: Path

    def send(self, request: bytes, *, half_close: bool = False) -> Answer:
        """Send bytes as they are and read the answer to its end. `half_close`: nothing more will come."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            with suppress(ConnectionError):  # refused before it was sent to the end
                connection.sendall(request)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            return _parsed(b"".join(_received(connection)))

    def stored(self) -> list[Path]:
        """Return the files in the storage, whole or not."""
        return [path for path in self.storage.rglob("*") if path.is_file()]


def request(
    method: str, target: str, *headers: str, body: bytes | None = None, host: str = "localhost"
) -> bytes:
    """Write out a request. Content-Length is added when there is a body and no header names one."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    named = any(header.lower().startswith(("content-length:", "transfer-")) for header in headers)
    if body is not None and not named:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


@contextmanager
def serving(
    database_url: str, directory: Path, variables: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run granian over a database until the block ends. `variables` are added to its environment."""
    storage = directory / "storage"
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "STORAGE_DIR": str(storage),
        "SECRET_KEY": settings.SECRET_KEY,
        "PYTHONWARNINGS": "",
        **(variables or {}),
    }
    with held_port() as port:
        command = f"-m granian --interface wsgi --port {port} --blocking-threads 4 --no-log"
        with (directory / "server.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *command.split(), "config.wsgi:application"],
                env=environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        server = Server(port, storage)
        try:
            wait_for(lambda: _answers(server), "the web server answers")
            yield server
        finally:
            process.terminate()
            process.wait(timeout=20)


def _answers(server: Server) -> bool:
    with suppress(OSError):
        return server.send(request("GET", "/livez")).status == 200
    return False


def _received(connection: socket.socket) -> Iterator[bytes]:
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            yield piece


def _parsed(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head:
        return Answer(0, {}, b"")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    if headers.get("transfer-encoding") == "chunked":
        body = _joined(body)
    return Answer(int(first.split()[1]), headers, body)


def _joined(chunked: bytes) -> bytes:
    found = b""
    while chunked:
        size, _, rest = chunked.partition(b"\r\n")
        found += rest[: int(size, 16)]
        chunked = rest[int(size, 16) + 2 :]
    return found
