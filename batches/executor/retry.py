"""What the outcome of one call means for its line: data, decided without side effects."""

import email.utils
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from enum import Enum, auto

import msgspec
from msgspec import Raw, Struct

from batches.executor.lines import Code
from batches.executor.transport import Answer, Kind, TransportError

MAX_RETRY_AFTER_SECONDS = 120  # the most that the official SDK waits, too
OVERLOADED = frozenset({429, 503, 529})
RETRYABLE = frozenset({408, 409, 424, 425, 429})  # and every 5xx
DOWN = frozenset({502, 503, 504, 529})  # what stands before an upstream that is down answers so
REFUSED = frozenset({401, 403})
QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
KEY_REFUSED = "The upstream refused this service's key"  # how the reason of such a pause begins


class Action(Enum):
    FAIL = auto()  # the line's last word
    RETRY = auto()  # once more; uses up an attempt
    WAIT = auto()  # once more; uses up nothing
    PAUSE = auto()  # nothing more to this upstream until it is corrected or resumed; the line waits


@dataclass(frozen=True, slots=True)
class Decision:
    action: Action
    code: Code | None = None  # the line's error, should it fail now; None: the answer itself is
    after: float | None = None  # seconds, when the upstream named them
    down: bool = False  # the outcome speaks for an upstream that is down
    refused: bool = False  # the upstream has no room for it
    reason: str = ""  # of a pause, for the operator; holds nothing the upstream said


_UNREADABLE = Decision(Action.RETRY, Code.UPSTREAM_INVALID_RESPONSE)
_REDIRECT = Decision(Action.FAIL, Code.UPSTREAM_REDIRECT)
_NO_ANSWER = {
    Kind.UNREACHABLE: Decision(Action.WAIT, Code.UPSTREAM_UNREACHABLE, down=True),
    Kind.BROKEN: Decision(Action.RETRY, Code.UPSTREAM_UNREACHABLE, down=True),
    Kind.TIMEOUT: Decision(Action.RETRY, Code.REQUEST_TIMEOUT, down=True),
    Kind.TOO_LARGE: Decision(Action.FAIL, Code.RESPONSE_TOO_LARGE),
    Kind.ENCODED: _UNREADABLE,
}


def decide(outcome: Answer | TransportError, *, now: float) -> Decision:
    """Return what to do after a call that brought no good answer: a 2xx here is one that is no JSON object.

    `now`: Unix seconds, to read a date in Retry-After.
    """
    if isinstance(outcome, TransportError):
        return _NO_ANSWER[outcome.kind]
    if outcome.status < 300:
        return _UNREADABLE
    if outcome.status < 400:
        return _REDIRECT
    return _decide_error(outcome, now)


def _decide_error(answer: Answer, now: float) -> Decision:
    # A refused key or a used-up quota would fail every line, whatever the upstream says of this one.
    reason = _pause_reason(answer)
    if reason:
        return Decision(Action.PAUSE, reason=reason)
    down, refused = answer.status in DOWN, answer.status in OVERLOADED
    wish = answer.headers.get("x-should-retry")
    retryable = answer.status in RETRYABLE or answer.status >= 500
    if wish == "false" or not (retryable or wish == "true"):
        return Decision(Action.FAIL, down=down, refused=refused)
    after = retry_after(answer.headers, now)
    if refused or after is not None:
        return Decision(Action.WAIT, after=after, down=down, refused=refused)
    return Decision(Action.RETRY, down=down)


def _pause_reason(answer: Answer) -> str:
    if answer.status in REFUSED:
        return f"{KEY_REFUSED} (HTTP {answer.status}). Correct it: that resumes."
    if answer.status < 500 and not QUOTA.isdisjoint(_error_names(answer.body)):
        return f"The upstream's quota is used up (HTTP {answer.status}). Raise it, then resume."
    return ""


class _Error(Struct):
    code: Raw = Raw()
    type: Raw = Raw()


class _ErrorBody(Struct):
    error: _Error


_error_body = msgspec.json.Decoder(_ErrorBody)


def _error_names(body: bytes) -> set[str]:
    """Return the error's code and type, if the body is an error in OpenAI's shape."""
    if not any(name.encode() in body for name in QUOTA):
        return set()
    try:
        error = _error_body.decode(body).error
    except (ValueError, RecursionError):
        return set()
    return {
        bytes(token).decode("utf-8", "replace").strip('"') for token in (error.code, error.type)
    }


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return for how many seconds the upstream asks to wait, at most 120; None if it does not say so sensibly."""
    seconds = _number(headers.get("retry-after-ms")) / 1000
    if not seconds > 0:
        value = headers.get("retry-after")
        seconds = _number(value)
        if math.isnan(seconds):
            seconds = _seconds_until(value, now)
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds > 0 else None


def _number(value: str | None) -> float:
    """Return NaN, which is not greater than 0, for what is no finite number."""
    try:
        number = float(value or "nan")
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _seconds_until(value: str | None, now: float) -> float:
    try:
        date = email.utils.parsedate_to_datetime(value or "")
    except (ValueError, TypeError, OverflowError):
        return math.nan
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return date.timestamp() - now


def doubling(tries: int, base: float, cap: float) -> float:
    """Return `base` for the first try, then twice as much each time, up to `cap`."""
    return min(cap, base * 2.0 ** min(tries - 1, 30))


def backoff(tries: int, base: float, cap: float, rng: random.Random) -> float:
    """Return seconds to wait after the `tries`-th call: doubling, with full jitter."""
    return rng.uniform(0, doubling(tries, base, cap))
