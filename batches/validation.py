"""Step: is the input file a batch that can run? If so, cut it into shards; if not, say everything that is wrong.

One streaming pass. Memory is bounded by the longest line and 8 bytes a line, whatever the file's size.
"""

import array
import collections
import dataclasses
import hashlib
import time
from collections.abc import Iterator

from django.conf import settings
from django.db import transaction

from batches.models import Batch, Shard, Status, Upstream
from batches.request_line import Problem, RequestLine, shorten
from batches.request_reader import RequestReader
from files.content import open_file
from files.jsonl import Block, Stream, read_blocks
from files.models import File, Purpose
from files.storage import Missing

ACTOR = "validation"
MAX_PROBLEMS = 100
MAX_MODEL = 255  # characters of a model's name; its column's
STEP_SECONDS = 30
RENEW_SECONDS = 5
BOM = b"\xef\xbb\xbf"
OTHER_ENCODINGS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


class _Abandoned(Exception):
    """The batch has moved on; what was found no longer matters."""


def validate(batch_id: str) -> None:
    """Move a batch that is validating to in_progress, with its shards, or to failed, with its errors.

    Safe to run at any time and by many at once: one of them works, and only the state's own move counts.
    """
    batch = Batch.objects.select_related("account", "external_user", "held_file").get(pk=batch_id)
    if batch.status != Status.VALIDATING or not batch.claim_step(STEP_SECONDS):
        return
    try:
        plan = _check_file(batch)
        with transaction.atomic():
            if isinstance(plan, Plan) and (refused := _refuse_queued(batch, plan)):
                plan = [refused]
            if isinstance(plan, list):
                errors = [problem.to_dict() for problem in plan]
                batch.move(Status.FAILED, actor=ACTOR, errors=errors)
            else:
                _start(batch, plan)
    except (_Abandoned, Batch.Conflict):
        return


@dataclasses.dataclass(slots=True)
class Plan:
    """A good file: how many requests, of which model, and the shards they fall into."""

    total: int
    model: str
    shards: list["Cut"]


@dataclasses.dataclass(slots=True)
class Cut:
    """Whole lines of the input file: the first one's number, how many requests, and their bytes."""

    first_line: int
    start: int
    end: int = 0
    lines: int = 0


def _refuse_queued(batch: Batch, plan: Plan) -> Problem | None:
    """Why these requests are beyond a limit of the owner's: in OpenAI's words, which clients wait and try again at.

    What an operator has run again is not refused.
    """
    if batch.attempt > 1:
        return None
    for holder, limit in batch.owner.locked_limits("max_queued_requests"):
        queued = Batch.objects.of(holder).queued_requests()
        if queued + plan.total <= limit:
            continue
        text = (
            f"Enqueued request limit reached for {plan.model} in {holder}. Limit: {limit} enqueued requests; "
            f"{queued} are enqueued, and this batch has {plan.total}. "
        )
        if plan.total > limit:
            return Problem("token_limit_exceeded", text + "Split it into several batches.")
        later = "Please try again once some in_progress batches have been completed."
        return Problem("token_limit_exceeded", text + later)
    return None


def _start(batch: Batch, plan: Plan) -> None:
    upstream = Upstream.objects.serving(plan.model)
    # First, for of two validators only the one that moves the batch may write shards.
    batch.move(
        Status.IN_PROGRESS, actor=ACTOR, total=plan.total, model=plan.model, upstream=upstream
    )
    Shard.objects.bulk_create(
        (
            Shard(batch=batch, number=number, **dataclasses.asdict(cut))
            for number, cut in enumerate(plan.shards)
        ),
        batch_size=500,
    )


def _check_file(batch: Batch) -> Plan | list[Problem]:
    file = batch.held_file  # taken at creation, if the owner had it
    if file is None:
        text = f"Cannot find file {shorten(batch.input_file_id)}, or organization {batch.account} does not have access to it."
        return [Problem("invalid_request", text, "file_id")]
    if file.purpose != Purpose.BATCH:
        text = f"The input file must have the purpose 'batch', but {file.pk} has '{file.purpose}'."
        return [Problem("invalid_request", text, "file_id")]
    try:
        return _Check(batch, file).run()
    except Missing:
        text = f"The content of the input file {file.pk} is no longer in the storage."
        return [Problem("input_file_missing", text, "file_id")]


class _Check:
    """One pass over one file."""

    def __init__(self, batch: Batch, file: File) -> None:
        self.batch = batch
        self.file = file
        self.problems: list[Problem] = []
        self.problem_count = 0
        self.inputs = 0
        self.model = ""
        self.served: dict[str, bool] = {}
        self.cuts: list[Cut] = []
        self.ids = _IdSet()
        self.reader = RequestReader(batch.endpoint)
        self.shard_lines, self.shard_bytes = settings.BATCH_SHARD_LINES, settings.BATCH_SHARD_BYTES
        self.modified = False
        self.renewed = time.monotonic()

    def run(self) -> Plan | list[Problem]:
        for block in self._blocks():
            self._take(block)
            if self.total > settings.BATCH_MAX_REQUESTS:
                return [_too_many("requests", settings.BATCH_MAX_REQUESTS, None)]
        if refused := self._refuse_whole():
            return [refused]
        self._report_duplicates()
        if self.problem_count:
            return self._listed()
        return Plan(self.total, self.model, self.cuts)

    def _blocks(self) -> Iterator[Block]:
        """Every line, hashed on the way; keeps the step while it reads."""
        digest = hashlib.sha256()
        with open_file(self.file) as stream:
            for block in read_blocks(_Hashed(stream, digest), settings.BATCH_MAX_LINE_BYTES):
                self._renew()
                yield block
        if digest.hexdigest() != self.file.sha256:
            self.modified = True

    def _renew(self) -> None:
        if time.monotonic() - self.renewed > RENEW_SECONDS:
            if not self.batch.renew_step(STEP_SECONDS):
                raise _Abandoned
            self.renewed = time.monotonic()

    def _take(self, block: Block) -> None:
        """Check each line of a block, and put it into the present shard, or as the first one into a new shard."""
        if not block.lines:
            self._refuse_long(block)
        read, cut = self.reader.read, self.cuts[-1] if self.cuts else None
        most_lines, most_bytes = self.shard_lines, self.shard_bytes
        ids = []
        for line, number, start, end in _placed(block):
            if cut is None or cut.lines >= most_lines or end - cut.start > most_bytes:
                cut = Cut(number, start)
                self.cuts.append(cut)
            cut.lines += 1
            cut.end = end
            request = read(line, number)
            if isinstance(request, list):
                self._report(_wrong_encoding(line, number) or request)
                continue
            ids.append(request.custom_id)
            self.inputs += request.inputs
            if request.model != self.model:
                self._report(self._check_model(request, number))
        self.ids.add(ids)

    def _refuse_long(self, block: Block) -> None:
        self.cuts.append(Cut(block.number, block.start, block.end, lines=1))
        text = f"This line is longer than {settings.BATCH_MAX_LINE_BYTES} bytes."
        self._report([Problem("line_too_long", text, None, block.number)])

    @property
    def total(self) -> int:
        return sum(cut.lines for cut in self.cuts)

    def _check_model(self, request: RequestLine, number: int) -> list[Problem]:
        name = request.model
        if not self._is_served(name):
            text = f"The provided model '{shorten(name)}' is not supported by the Batch API."
            return [Problem("model_not_found", text, "body.model", number)]
        if not self.model:
            self.model = name
            return []
        text = (
            f"The model '{shorten(name)}' for this request does not match the rest of the batch. "
            "Each batch must contain requests for a single model."
        )
        return [Problem("mismatched_model", text, "body.model", number)]

    def _is_served(self, name: str) -> bool:
        if len(name) > MAX_MODEL or not name.isprintable():
            return False  # PostgreSQL could not even keep it
        if name not in self.served:
            if len(self.served) > MAX_PROBLEMS:
                self.served.clear()
            self.served[name] = Upstream.objects.serving(name) is not None
        return self.served[name]

    def _refuse_whole(self) -> Problem | None:
        if self.modified:
            text = (
                f"The content of the input file {self.file.pk} has changed since it was uploaded."
            )
            return Problem("input_modified", text, "file_id")
        if not self.total:
            text = "The input file is empty. Please ensure that the batch contains at least one request."
            return Problem("empty_file", text)
        if self.inputs > settings.BATCH_MAX_INPUTS and self.batch.endpoint == "/v1/embeddings":
            return _too_many("inputs", settings.BATCH_MAX_INPUTS, "body.input")
        return None

    def _report(self, found: list[Problem]) -> None:
        self.problem_count += len(found)
        if len(self.problems) < MAX_PROBLEMS:
            self.problems += found

    def _report_duplicates(self) -> None:
        """Read the file again for the few ids whose hashes met, and report those that are really the same."""
        suspects = self.ids.repeated()
        if not suspects:
            return
        first: dict[str, int] = {}
        self.problems, kept = [], self.problems
        for block in self._blocks():
            for line, number, _, _ in _placed(block):
                request = self.reader.read(line, number)
                if isinstance(request, list) or hash(request.custom_id) not in suspects:
                    continue
                if first.setdefault(request.custom_id, number) != number:
                    self._report([_repeated(request.custom_id, first[request.custom_id], number)])
        self.problems = sorted(self.problems + kept, key=lambda problem: problem.line or 0)

    def _listed(self) -> list[Problem]:
        if self.problem_count <= MAX_PROBLEMS:
            return self.problems
        shown = self.problems[: MAX_PROBLEMS - 1]
        text = f"The input file has {self.problem_count} errors; the first {len(shown)} are listed."
        return [*shown, Problem("too_many_errors", text)]


class _Hashed:
    """A stream whose bytes are hashed as they are read."""

    def __init__(self, stream: Stream, digest: "hashlib._Hash") -> None:
        self._stream = stream
        self._digest = digest

    def read(self, size: int, /) -> bytes:
        block = self._stream.read(size)
        self._digest.update(block)
        return block


class _IdSet:
    """The hashes of all ids, in buckets that are small enough to look into one at a time.

    Python's hash of a text is keyed per process, so nobody outside can aim for a collision.
    """

    def __init__(self) -> None:
        self._buckets = [array.array("q") for _ in range(256)]

    def add(self, custom_ids: list[str]) -> None:
        buckets = self._buckets
        for value in map(hash, custom_ids):
            buckets[value & 255].append(value)

    def repeated(self) -> set[int]:
        """Return the hashes that more than one id has."""
        found: set[int] = set()
        for bucket in self._buckets:
            counts = collections.Counter(bucket) if len(set(bucket)) < len(bucket) else {}
            found.update(value for value, count in counts.items() if count > 1)
        return found


def _placed(block: Block) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield the lines that are not blank, without a byte order mark, with their number, start and end."""
    start = block.start
    for number, line in enumerate(block.lines, block.number):
        end = start + len(line)
        text = line if start else line.removeprefix(BOM)
        if text and not text.isspace():
            yield text, number, start, end
        start = end


def _wrong_encoding(line: bytes, number: int) -> list[Problem]:
    if number > 1 or not line.startswith(OTHER_ENCODINGS):
        return []
    text = "The input file must be UTF-8, but it looks like UTF-16 or UTF-32."
    return [Problem("invalid_encoding", text, None, number)]


def _too_many(what: str, limit: int, param: str | None) -> Problem:
    text = f"The input file has more than {limit} {what}, the most a batch may have. Split it into several batches."
    return Problem("too_many_tasks", text, param)


def _repeated(custom_id: str, first: int, number: int) -> Problem:
    text = (
        f"The custom_id '{shorten(custom_id)}' for this request is a duplicate of another request "
        f"(line {first}). The custom_id parameter must be unique for each request in a batch."
    )
    return Problem("duplicate_custom_id", text, "custom_id", number)
