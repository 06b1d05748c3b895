"""One batch through the whole service, as a consumer sends it."""

import dataclasses
import json
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks import cpu
from benchmarks.stage import Stage

TERMINAL = ("completed", "failed", "expired", "cancelled")
BODY_BYTES = 900
PATIENCE_SECONDS = 600.0


@dataclasses.dataclass(frozen=True)
class Run:
    """What became of a batch, and what it cost: CPU seconds, MB, seconds of wall time."""

    lines: int
    spent: float
    server_spent: float
    upload_seconds: float
    seconds: float  # from create to the last result
    web_mb: float
    worker_mb: float


def write_input(path: Path, lines: int, body_bytes: int = BODY_BYTES) -> Path:
    """A batch file of `lines` chat requests, about 1 KB each."""
    content = ("Say something about harbours. " * (body_bytes // 30 + 1))[:body_bytes]
    with path.open("w") as file:
        for number in range(lines):
            body = {
                "model": "simulated",
                "messages": [{"role": "user", "content": f"{number}: {content}"}],
            }
            line = {
                "custom_id": f"request-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }
            file.write(json.dumps(line) + "\n")
    return path


class Consumer:
    """Uploads, creates, polls and downloads, without an SDK's own CPU in the way."""

    def __init__(self, place: Stage, account: str = "bench") -> None:
        self._place = place
        self._url = f"http://127.0.0.1:{place.port}/v1"
        self._key = {"Authorization": f"Bearer {place.key(account)}"}

    def run(self, file: Path, lines: int, poll_seconds: float = 0.25) -> Run:
        """Send a file as one batch and read all its results.

        Raises RuntimeError when it does not complete, or lines are missing.
        """
        place = self._place
        spent, server_spent, began = place.spent(), place.server_spent(), time.monotonic()
        file_id = self.upload(file)
        uploaded = time.monotonic()
        batch_id = self.create(file_id)["id"]
        batch = self.wait(batch_id, poll_seconds)
        ended = time.monotonic()
        found = self._count(batch)
        if found != lines or batch["request_counts"]["completed"] != lines:
            raise RuntimeError(f"{found} of {lines} lines came back: {batch}")
        web, worker = place.parts
        return Run(
            lines=lines,
            spent=place.spent() - spent,
            server_spent=place.server_spent() - server_spent,
            upload_seconds=uploaded - began,
            seconds=ended - uploaded,
            web_mb=max(cpu.peaks(web.pid).values()),
            worker_mb=max(cpu.peaks(worker.pid).values()),
        )

    def upload(self, file: Path) -> str:
        boundary = b"----longshore-benchmark"
        head = (
            b'--%b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--%b\r\n'
            b'Content-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
        ) % (boundary, boundary)
        body = head + file.read_bytes() + b"\r\n--%b--\r\n" % boundary
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}
        return str(self._json("files", body, kind)["id"])

    def create(self, file_id: str) -> dict[str, Any]:
        asked = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "max_concurrency": 4096,
        }
        return self._json(
            "batches", json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )

    def get(self, batch_id: str) -> dict[str, Any]:
        return self._json(f"batches/{batch_id}")

    def wait(self, batch_id: str, poll_seconds: float) -> dict[str, Any]:
        """The batch when it has completed."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (batch := self.get(batch_id))["status"] not in TERMINAL:
            self._place.children.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the batch did not end in {PATIENCE_SECONDS:.0f} s: {batch}")
            time.sleep(poll_seconds)
        if batch["status"] != "completed":
            raise RuntimeError(f"the batch ended otherwise: {batch}")
        return batch

    def _count(self, batch: dict[str, Any]) -> int:
        request = self._request(f"files/{batch['output_file_id']}/content")
        with urllib.request.urlopen(request) as answer:
            return sum(block.count(b"\n") for block in iter(lambda: answer.read(1 << 20), b""))

    def _json(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        with urllib.request.urlopen(self._request(path, body, headers)) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def _request(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> urllib.request.Request:
        return urllib.request.Request(f"{self._url}/{path}", body, self._key | (headers or {}))
