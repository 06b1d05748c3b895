"""Batches brought to any stage by the code itself, and results as an engine would hand them in."""

import datetime
import hashlib
import itertools
import json
from collections.abc import Collection, Iterable
from typing import Any

from accounts.models import Account, Owner
from api.clock import database_now
from batches import journal, lifecycle, validation
from batches.executor.lines import Request, Result, Usage, answer_line
from batches.executor.transport import Answer
from batches.models import TERMINAL, Batch, Engine, Host, Shard, Status, Upstream
from files.content import blocks
from files.models import File
from tests.factories import FileFactory

CHAT = "/v1/chat/completions"
HOUR = datetime.timedelta(hours=1)
LEASE = 60.0
NOWHERE = "http://127.0.0.1:9/v1"
PATHS: dict[Status, tuple[Status, ...]] = {
    Status.VALIDATING: (),
    Status.FAILED: (Status.FAILED,),
    Status.IN_PROGRESS: (Status.IN_PROGRESS,),
    Status.FINALIZING: (Status.IN_PROGRESS, Status.FINALIZING),
    Status.COMPLETED: (Status.IN_PROGRESS, Status.FINALIZING, Status.COMPLETED),
    Status.EXPIRED: (Status.IN_PROGRESS, Status.EXPIRED),
    Status.CANCELLING: (Status.IN_PROGRESS, Status.CANCELLING),
    Status.CANCELLED: (Status.IN_PROGRESS, Status.CANCELLING, Status.CANCELLED),
}
_numbers = itertools.count(1)


def request_line(custom_id: str = "a", body: str = "", **changes: Any) -> bytes:
    """Write a request line, with its newline. `body` is JSON as it shall stand there."""
    body = body or '{"model": "m", "messages": []}'
    fields = {"custom_id": custom_id, "method": "POST", "url": CHAT} | changes
    frame = json.dumps(fields, ensure_ascii=False)[:-1]
    return f'{frame}, "body": {body}}}\n'.encode()


def request_lines(count: int) -> bytes:
    """Write requests "0", "1", ..."""
    return b"".join(request_line(str(number)) for number in range(count))


def make_upstream(**fields: Any) -> Upstream:
    fields = {"name": f"upstream {next(_numbers)}", "base_url": NOWHERE} | fields
    return Upstream.objects.create(**fields)


def make_engine(lease: datetime.timedelta = HOUR) -> Engine:
    now = database_now()
    return Engine.objects.create(
        id=f"engine-{next(_numbers)}",
        host="here",
        pid=1,
        started_at=now,
        lease_expires_at=now + lease,
    )


def make_host(**fields: Any) -> Host:
    now = database_now()
    given = {"name": "here", "pid": 7, "version": "0.1.0", "slots": 2, "started_at": now}
    return Host.objects.create(**{"id": "h", "lease_expires_at": now + HOUR} | given | fields)


# Batches


def submit(owner: Account | Owner, content: bytes, **asked: Any) -> Batch:
    """Upload a file and submit it: a batch that is validating."""
    owner = owner if isinstance(owner, Owner) else Owner(owner)
    file = FileFactory(owner, content, sha256=hashlib.sha256(content).hexdigest())
    asked = {"endpoint": CHAT, "completion_window": "24h"} | asked
    return lifecycle.submit(owner, "test", input_file_id=file.pk, **asked)


def start(owner: Account | Owner, content: bytes | int = 3, **asked: Any) -> Batch:
    """Submit a file, or one of so many requests, and validate it: a batch in progress."""
    if not Upstream.objects.exists():
        make_upstream()
    content = request_lines(content) if isinstance(content, int) else content
    batch = submit(owner, content, **asked)
    validation.validate(batch.pk)
    batch.refresh_from_db()
    assert batch.status == Status.IN_PROGRESS, batch.errors
    return batch


def reach(batch: Batch, status: Status) -> Batch:
    """Move a batch that is validating along to a state, without doing that state's work."""
    for step in PATHS[status]:
        batch.move(step, actor="test")
    return batch


def overdue(batch: Batch) -> Batch:
    """Let the window of a batch have closed a while ago."""
    ago = database_now() - HOUR / 60
    Batch.objects.filter(pk=batch.pk).update(expires_at=ago, created_at=ago - HOUR)
    batch.refresh_from_db()
    return batch


# Results


def answer(request: Request, status: int = 200, body: bytes = b"", latency_ms: int = 5) -> Result:
    """Return what an engine makes of an answer; each counts 2 + 3 tokens when it is good."""
    good = 200 <= status < 300
    usual = b'{"ok":true}' if good else b'{"error":{"message":"The model is not there."}}'
    line = answer_line(request, Answer(status, {}, body or usual))
    usage = Usage(2, 1, 3, 1) if good else Usage()
    cause = "" if good else f"http_{status}"
    return Result.of(
        request,
        line,
        completed=good,
        attempts=1,
        status=status,
        cause=cause,
        latency_ms=latency_ms,
        usage=usage,
    )


def answers(requests: Iterable[Request], failing: Collection[str] = ()) -> list[Result]:
    """Answer each request, with a 400 those whose custom_id is in `failing`."""
    return [
        answer(request, 400 if json.loads(request.custom_id) in failing else 200)
        for request in requests
    ]


def claimed(shard: Shard, lease: float = LEASE) -> Shard:
    assert shard.claim(None, lease, database_now())
    return shard


def unanswered(shard: Shard) -> list[Request]:
    batch = Batch.objects.get(pk=shard.batch_id)
    return journal.unanswered(shard, batch.input_file_id)


def run(batch: Batch, failing: Collection[str] = (), most: int | None = None) -> Batch:
    """Answer every line of a batch, or of its first `most` open shards."""
    for shard in batch.shards.exclude(state=Shard.State.DONE).order_by("number")[:most]:
        results = answers(unanswered(claimed(shard)), failing)
        assert journal.finish(shard, batch.attempt, results, advance=True)
    batch.refresh_from_db()
    return batch


def ids_of(file_id: str | None) -> list[str]:
    """Return the custom_ids of a result file, in its order."""
    return [line["custom_id"] for line in lines_of(file_id)]


def lines_of(file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    content = b"".join(blocks(File.objects.get(pk=file_id)))
    return [json.loads(line) for line in content.splitlines()]


def codes_of(file_id: str | None) -> list[str]:
    """Return the error codes of an error file's lines, "" for those with an answer."""
    return [(line["error"] or {"code": ""})["code"] for line in lines_of(file_id)]


def settled(batch: Batch) -> Batch:
    """Return the batch as it is now, which must be at an end."""
    batch.refresh_from_db()
    assert batch.status in TERMINAL
    return batch
