"""Does a batch keep the promises? Read from its rows and its bytes alone, so that anybody can check at any time.

What is checked, by the numbers of docs/guarantees.md: every line once (I1), counts equal files (I2), legal moves
only (I4), shapes of the lines (I6), stamps in order (I7), files whole (I8).
"""

import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Any, NoReturn

import msgspec

from batches.executor.lines import Code
from batches.models import TERMINAL, TRANSITIONS, Batch, Status
from batches.models.batch import STAMPS
from files.content import open_file
from files.jsonl import read_lines
from files.models import Blob, File
from files.storage import Missing, storage

NO_LIMIT = 2**40
CODES = frozenset(Code)
KEYS = ["id", "custom_id", "response", "error"]


class _Input(msgspec.Struct):
    custom_id: str


class _Response(msgspec.Struct):
    status_code: int
    request_id: str
    body: Any


class _Error(msgspec.Struct):
    code: str
    message: str


class _Result(msgspec.Struct):
    id: str
    custom_id: str | None
    response: _Response | None
    error: _Error | None


_input = msgspec.json.Decoder(_Input)


def verify(batch: Batch) -> list[str]:
    """Return every promise the batch breaks, in words; an empty list means it keeps them all.

    A batch that runs is held to what must be true at any time, one that has ended to everything.
    """
    broken = [*_history(batch), *_stamps(batch)]
    if batch.completed + batch.failed > batch.total:
        broken.append(
            f"The counts pass the total: {batch.completed} + {batch.failed} of {batch.total}."
        )
    if batch.status in TERMINAL:
        broken += _results(batch)
    return broken


def _history(batch: Batch) -> Iterator[str]:
    moves = list(batch.history.order_by("id").values_list("from_status", "to_status", "attempt"))
    if not moves or moves[0][:2] != ("", Status.VALIDATING):
        yield "The history does not begin with the creation of the batch."
        return
    for (_, was, attempt), (start, to, next_attempt) in itertools.pairwise(moves):
        if start != was or Status(to) not in TRANSITIONS[Status(was)]:
            yield f"The history has an illegal move: {was}, then from {start} to {to}."
        if next_attempt - attempt != (Status(was) in TERMINAL):
            yield f"The history's attempt goes from {attempt} to {next_attempt} at {to}."
    if moves[-1][1] != batch.status:
        yield f"The history ends in {moves[-1][1]}, but the batch is {batch.status}."


def _stamps(batch: Batch) -> Iterator[str]:
    reached = set(batch.history.filter(attempt=batch.attempt).values_list("to_status", flat=True))
    for status, stamp in STAMPS.items():
        if (getattr(batch, stamp) is not None) != (status in reached):
            yield f"{stamp} does not agree with the history."
    order = [batch.created_at, batch.in_progress_at, batch.finalizing_at or batch.cancelling_at]
    order += [getattr(batch, STAMPS[status]) for status in TERMINAL]
    known = [moment for moment in order if moment is not None]
    if known != sorted(known):
        yield "The stamps are not in order."


def _results(batch: Batch) -> Iterator[str]:
    sizes = {"output_file": batch.completed, "error_file": batch.failed}
    if batch.completed + batch.failed != batch.total:
        yield f"The counts do not add up: {batch.completed} + {batch.failed} is not {batch.total}."
    answered: dict[str, list[str | None]] = {}
    try:
        for name, count in sizes.items():
            yield from _result_file(batch, name, count, answered)
        if len(answered) == sum(getattr(batch, f"{name}_id") is not None for name in sizes):
            yield from _against_input(batch, answered)
    except Missing as error:
        yield f"Bytes are lost: {error}"


def _result_file(
    batch: Batch, name: str, count: int, answered: dict[str, list[str | None]]
) -> Iterator[str]:
    file_id = getattr(batch, f"{name}_id")
    file = File.objects.filter(pk=file_id).first()
    if file_id is None and count:
        yield f"There is no {name}, but {count} lines should be in it."
    elif file is not None:  # its owner may have deleted it since
        answered[name] = []
        yield from _read(file, name, answered[name])
        if len(answered[name]) != count:
            yield f"The {name} has {len(answered[name])} lines, but the count says {count}."


def _read(file: File, name: str, ids: list[str | None]) -> Iterator[str]:
    """Check each line of a result file, and gather its custom_id."""
    yield from _whole(file)
    with open_file(file) as stream:
        end = 0
        for line in read_lines(stream, NO_LIMIT):
            end = line.end
            try:
                ids.append(_check_line(line.bytes or b"", name == "output_file"))
            except (msgspec.DecodeError, ValueError) as error:
                yield f"Line {line.number} of the {name} is wrong: {error}."
                ids.append(None)
    if end != file.bytes:
        yield f"The {name} has {end} bytes, but its row says {file.bytes}."


def _check_line(line: bytes, completed: bool) -> str | None:
    # msgspec refuses half a surrogate pair, which upstreams do send.
    found = json.loads(str(line, "utf-8"), parse_constant=_refuse)
    if not isinstance(found, dict) or list(found) != KEYS:
        raise ValueError(f"its keys are not {', '.join(KEYS)}")
    result = msgspec.convert(found, _Result)
    if result.response is not None:
        status = result.response.status_code
        if result.error is not None or (200 <= status < 300) != completed:
            raise ValueError(f"an answer with status {status} does not belong here")
    elif completed or result.error is None:
        raise ValueError("it has no answer")
    elif result.error.code not in CODES:
        raise ValueError("its error code is not one of those documented")
    return result.custom_id


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _whole(file: File) -> Iterator[str]:
    """Every blob of the file has the bytes that were written."""
    for blob in Blob.objects.filter(pk__in=file.parts.values("blob")).iterator():
        digest = hashlib.sha256()
        with storage().read(blob.key) as reader:
            while piece := reader.read(1024 * 1024):
                digest.update(piece)
        if digest.hexdigest() != blob.sha256:
            yield f"The bytes of {blob.key} in {file.pk} have changed since they were written."


def _against_input(batch: Batch, answered: dict[str, list[Any]]) -> Iterator[str]:
    """Every line of the input has one result, and each file has them in the order of the input."""
    file = File.objects.filter(pk=batch.input_file_id).first()
    if file is None or not batch.total:
        return
    queues = {name: iter(ids) for name, ids in answered.items()}
    heads = {name: next(queue, None) for name, queue in queues.items()}
    with open_file(file) as stream:
        for line in read_lines(stream, NO_LIMIT):
            text = (line.bytes or b"").removeprefix(b"\xef\xbb\xbf")
            if not text.strip():
                continue
            custom_id = _input.decode(text).custom_id
            name = next((name for name, head in heads.items() if head == custom_id), None)
            if name is None:
                yield f"Line {line.number} of the input has no result in its place."
                return
            heads[name] = next(queues[name], None)
    if any(head is not None for head in heads.values()):
        yield "There are results that no line of the input asked for."
