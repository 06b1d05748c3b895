"""A client that writes down whatever it is answered, and at the end holds the service to every word of it."""

import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import openai
from openai.types import Batch

from tools.soak_check import Findings, check_results, request_lines

T = TypeVar("T")
TERMINAL = ("completed", "failed", "expired", "cancelled")
TIMEOUT_SECONDS = 15.0
TICK_SECONDS = 0.5
MOST_OPEN = 4  # batches of one client that have not ended
LINES = (10, 400)
CANCELLED_SHARE = 0.15
REFUSED_SHARE = 0.03  # of the lines, by the upstream


class Refused(Exception):
    """No answer that a client could build on; it may try again."""


@dataclass
class Watched:
    """What the client last saw of a batch."""

    digest: str  # of its input
    counts: tuple[int, int, int] = (0, 0, 0)  # completed, failed, total
    status: str = "validating"
    cancelled: bool = False
    moved_at: float = field(default_factory=time.monotonic)


class Client(threading.Thread):
    """Uploads, creates, cancels, polls and downloads until told to stop; `directory` holds its journal.

    broken: what the service must never do, in words. answers: of the API, by status; 0 is none at all.
    """

    def __init__(self, urls: Sequence[str], key: str, directory: Path, seed: int) -> None:
        super().__init__(name=f"client-{seed}", daemon=True)
        directory.mkdir(parents=True)
        self.broken: list[str] = []
        self.answers: Counter[int] = Counter()
        self.longest_still = 0.0  # seconds in which a batch that was not done did not move
        self._doors = [
            openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=TIMEOUT_SECONDS)
            for url in urls
        ]
        self._directory = directory
        self._random = random.Random(seed)  # noqa: S311 - to be repeatable
        self._name = f"client {seed}"
        self._open: dict[str, Watched] = {}
        self._serial = 0
        self._no_more = threading.Event()
        self._over = threading.Event()
        self._journal = (directory / "journal.jsonl").open("a", buffering=1)

    # What others see and do

    @property
    def open_batches(self) -> list[str]:
        return sorted(self._open)

    def submit_no_more(self) -> None:
        self._no_more.set()

    def end(self) -> None:
        self._over.set()
        self.join()
        self._journal.close()

    def run(self) -> None:
        while not self._over.wait(TICK_SECONDS):
            try:
                self._act()
            except Refused:
                self._doors.reverse()  # the other web server
            except Exception as error:  # noqa: BLE001 - whatever it is, the service is not to be called whole
                self.broken.append(f"{self._name} came to grief: {error!r}")

    # Acts

    def _act(self) -> None:
        if not self._no_more.is_set() and len(self._open) < MOST_OPEN:
            self._submit()
        for batch_id in list(self._open):
            self._poll(batch_id)
        if self._open and self._random.random() < CANCELLED_SHARE / 10:
            self._cancel(self._random.choice(self.open_batches))

    def _submit(self) -> None:
        self._serial += 1
        ids = [f"{self._serial}-{n}" for n in range(self._random.randint(*LINES))]
        refused = {name for name in ids if self._random.random() < REFUSED_SHARE}
        content = request_lines(ids, refused)
        digest = hashlib.sha256(content).hexdigest()
        (self._directory / digest).write_bytes(content)
        file = self._ask(
            lambda door: door.files.create(file=("lines.jsonl", content), purpose="batch")
        )
        self._note("uploaded", file=file.id, sha256=digest)
        batch = self._ask(
            lambda door: door.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
        )
        self._note("created", batch=batch.id, sha256=digest)
        self._open[batch.id] = Watched(digest)

    def _cancel(self, batch_id: str) -> None:
        try:
            batch = self._ask(lambda door: door.batches.cancel(batch_id))
        except openai.ConflictError:
            return  # it has its answers already
        if batch.status in ("cancelling", "cancelled"):
            self._open[batch_id].cancelled = True
            self._note("cancelled", batch=batch_id)

    def _poll(self, batch_id: str) -> None:
        seen = self._open[batch_id]
        batch = self._ask(lambda door: door.batches.retrieve(batch_id))
        counts = counts_of(batch)
        if any(now < before for now, before in zip(counts, seen.counts, strict=True)):
            self.broken.append(f"{batch_id}: counts went from {seen.counts} to {counts}")
        if (counts, batch.status) != (seen.counts, seen.status):
            self.longest_still = max(self.longest_still, time.monotonic() - seen.moved_at)
            seen.moved_at = time.monotonic()
            seen.counts, seen.status = counts, batch.status
        if batch.status in TERMINAL:
            self._note("ended", batch=batch_id, **self._results(batch)[0])
            del self._open[batch_id]

    def _results(self, batch: Batch) -> tuple[dict[str, Any], bytes, bytes]:
        """What must never change once a batch has ended, and the contents of its files."""
        output, errors = self._content(batch.output_file_id), self._content(batch.error_file_id)
        digests = [hashlib.sha256(content).hexdigest() for content in (output, errors)]
        state = {"status": batch.status, "counts": list(counts_of(batch)), "digests": digests}
        return state, output, errors

    def _content(self, file_id: str | None) -> bytes:
        if file_id is None:
            return b""
        return bytes(self._ask(lambda door: door.files.content(file_id).read()))

    def _ask(self, call: Callable[[openai.OpenAI], T]) -> T:
        """Raises Refused when there was no answer, or one that says "not now"."""
        try:
            answer = call(self._doors[0])
        except openai.APIConnectionError as error:
            self.answers[0] += 1
            raise Refused from error
        except openai.APIStatusError as error:
            self.answers[error.status_code] += 1
            if error.status_code == 503:
                raise Refused from error
            if error.status_code != 409:
                self.broken.append(f"{self._name} was answered {error.status_code}: {error}")
                raise Refused from error
            raise
        except openai.OpenAIError as error:
            self.answers[0] += 1  # an answer that broke off
            raise Refused from error
        self.answers[200] += 1
        return answer

    def _note(self, did: str, **what: Any) -> None:
        self._journal.write(json.dumps({"did": did, "at": time.time(), **what}) + "\n")

    # The reckoning

    def entries(self) -> list[dict[str, Any]]:
        text = (self._directory / "journal.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def reckon(self) -> Findings:
        """Hold the service to every entry of the journal; needs a service that is well."""
        total = Findings(problems=self.broken)
        ends: dict[str, dict[str, Any]] = {}
        cancelled: set[str] = set()
        created: dict[str, str] = {}
        for entry in self.entries():
            if entry["did"] == "uploaded":
                content = self._content(entry["file"])
                if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                    total.problems.append(f"{entry['file']} is not what was uploaded")
            elif entry["did"] == "created":
                created[entry["batch"]] = entry["sha256"]
            elif entry["did"] == "cancelled":
                cancelled.add(entry["batch"])
            else:
                ends[entry["batch"]] = entry
        for batch_id, digest in created.items():
            self._reckon_batch(batch_id, digest, ends.get(batch_id), batch_id in cancelled, total)
        return total

    def _reckon_batch(
        self,
        batch_id: str,
        digest: str,
        end: dict[str, Any] | None,
        cancelled: bool,
        total: Findings,
    ) -> None:
        batch = self._ask(lambda door: door.batches.retrieve(batch_id))
        state, output, errors = self._results(batch)
        if end is None:
            total.problems.append(f"{batch_id} was accepted and is still {batch.status}")
            return
        if any(end[name] != value for name, value in state.items()):
            total.problems.append(f"{batch_id} has changed since it ended: {end} is now {state}")
        if batch.status != ("cancelled" if cancelled else "completed"):
            total.problems.append(f"{batch_id} ended as {batch.status}, cancelled: {cancelled}")
        if batch.status == "cancelled" and not counts_of(batch)[2]:
            return  # before it was validated
        content = (self._directory / digest).read_bytes()
        found = check_results(content, batch.status, counts_of(batch), output, errors)
        total.lines += found.lines
        total.lost += found.lost
        total.doubled += found.doubled
        total.problems += [f"{batch_id}: {problem}" for problem in found.problems]


def counts_of(batch: Batch) -> tuple[int, int, int]:
    counts = batch.request_counts
    return (counts.completed, counts.failed, counts.total) if counts else (0, 0, 0)
