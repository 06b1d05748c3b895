"""What is done to upstreams beyond a row: corrected, and tried with real calls."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable

import msgspec
import uvloop
from django.db import transaction

from batches.executor.retry import KEY_REFUSED
from batches.executor.transport import Answer, Transport, TransportError
from batches.executor.work import HEADERS
from batches.models import Upstream
from batches.transports import make_transport
from console.acts import By, record

TEST = "test upstreams"  # in the operator log
TRY_SECONDS = 15.0  # of each call: somebody is waiting for it
SAID_CHARS = 300
MODEL_CHARS = 255
NO_MODEL = "no model is named here or by the upstream, so no request was made"


def is_refused(upstream: Upstream) -> bool:
    """Whether engines have paused it because it refused the key. An operator's own pause names the operator first."""
    return upstream.paused_at is not None and upstream.pause_reason.startswith(KEY_REFUSED)


def resume_corrected(upstream: Upstream) -> bool:
    """Resume an upstream that is paused for its refused key, now that key or address are others. False for any other."""
    rows = Upstream.objects.filter(pk=upstream.pk, pause_reason__startswith=KEY_REFUSED)
    return bool(rows.filter(paused_at__isnull=False).update(paused_at=None, pause_reason=""))


@dataclasses.dataclass(frozen=True, slots=True)
class Try:
    """One call made to see what comes. `said`, the beginning of the answer, and perhaps `model` are a stranger's text."""

    kind: str
    status: int | None
    milliseconds: int
    said: str
    model: str = ""  # that was asked

    @property
    def asked(self) -> str:
        return f"{self.kind} to {self.model}" if self.model else self.kind

    @property
    def is_good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def told(self) -> str:
        """What came of it, without anything that the upstream said."""
        answered = f"HTTP {self.status}" if self.status else "no answer"
        return f"{self.kind}: {answered} in {self.milliseconds} ms"


def try_out(upstream: Upstream) -> list[Try]:
    """Ask for its models, and send one tiny chat request to the first of them, as an engine would send it.

    Blocks for half a minute at most; changes no row. An upstream that is paused is tried too.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_calls(upstream))


def try_and_log(upstream: Upstream, by: By, reason: str = "") -> list[Try]:
    """The same, written into the operator log: that it was done and what statuses came, not what was said."""
    tries = try_out(upstream)
    with transaction.atomic():
        record(by, TEST, upstream, outcome="; ".join(one.told for one in tries), reason=reason)
    return tries


async def _calls(upstream: Upstream) -> list[Try]:
    transport = make_transport()
    headers = HEADERS | upstream.headers
    try:
        url = upstream.url("/v1/models")
        first, answer = await _try("GET models", transport.get(url, headers, TRY_SECONDS))
        model = next(iter(upstream.served_models), "") or _first_model(answer)
        return [first, await _ask(transport, upstream, model)]
    finally:
        await transport.close()


async def _ask(transport: Transport, upstream: Upstream, model: str) -> Try:
    if not model:
        return Try("a request", None, 0, NO_MODEL)
    messages = [{"role": "user", "content": "Say OK."}]
    body = msgspec.json.encode({"model": model, "messages": messages, "max_tokens": 8})
    url, seconds = upstream.url("/v1/chat/completions"), min(TRY_SECONDS, upstream.timeout_seconds)
    call = transport.post(url, HEADERS | upstream.headers, body, seconds)
    done, _ = await _try("a request", call)
    return dataclasses.replace(done, model=model)


async def _try(kind: str, call: Awaitable[Answer]) -> tuple[Try, Answer | None]:
    started = time.monotonic()
    try:
        answer = await call
    except TransportError as error:
        return Try(kind, None, _since(started), str(error)), None
    said = answer.body[: 4 * SAID_CHARS].decode("utf-8", "replace")[:SAID_CHARS]
    return Try(kind, answer.status, _since(started), said), answer


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def _first_model(answer: Answer | None) -> str:
    try:
        found = msgspec.json.decode(answer.body if answer else b"", type=_Models).data
    except (ValueError, RecursionError):
        return ""
    usable = (one.id for one in found if len(one.id) <= MODEL_CHARS and one.id.isprintable())
    return next(usable, "")
