"""Request lines in, result lines out, as bytes: a body is never rebuilt, only cut out and put in again."""

import itertools
import json
import os
import re
import secrets
from collections.abc import Container
from enum import StrEnum
from typing import Annotated, NoReturn

import msgspec
from msgspec import Meta, Raw, Struct

from batches.executor.transport import Answer

BOM = b"\xef\xbb\xbf"
ERROR_TEXT_BYTES = 64 * 1024  # of an upstream's error that is not JSON
REQUEST_ID = re.compile(r"[A-Za-z0-9._:#-]{1,128}")


class Code(StrEnum):
    """Why a line has no answer: every `error.code` a result line can have."""

    BATCH_EXPIRED = "batch_expired"
    BATCH_CANCELLED = "batch_cancelled"
    REQUEST_TIMEOUT = "request_timeout"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_INVALID_RESPONSE = "upstream_invalid_response"
    UPSTREAM_REDIRECT = "upstream_redirect"
    RESPONSE_TOO_LARGE = "response_too_large"
    INPUT_FILE_MISSING = "input_file_missing"
    WORKER_CRASH = "worker_crash"
    INTERNAL_ERROR = "internal_error"


MESSAGES = {
    Code.BATCH_EXPIRED: "This request could not be executed before the completion window expired.",
    Code.BATCH_CANCELLED: "This request was not executed because the batch was cancelled.",
    Code.REQUEST_TIMEOUT: "The upstream did not answer in time, in any attempt.",
    Code.UPSTREAM_UNREACHABLE: "The connection to the upstream broke before the whole answer came, in every attempt.",
    Code.UPSTREAM_INVALID_RESPONSE: "The upstream's answer was not a JSON object, in every attempt.",
    Code.UPSTREAM_REDIRECT: "The upstream answered with a redirect. Redirects are not followed; its base URL must be corrected.",
    Code.RESPONSE_TOO_LARGE: "The upstream's answer was larger than this service accepts.",
    Code.INPUT_FILE_MISSING: "This request was not executed because the content of the input file is gone from the storage.",
    Code.WORKER_CRASH: "Three workers ended while they ran nothing but this request, so it is not tried again.",
    Code.INTERNAL_ERROR: "This request failed because of an error in this service. Submit it again.",
}


# Request lines

UNKNOWN_ID = b"null"  # the custom_id of a line whose file is lost


class Request(Struct, frozen=True, gc=False):
    """One request line of a shard."""

    index: int  # of the request lines in its shard, from 0
    line: int  # of all lines in the input file, from 1
    custom_id: bytes  # the JSON string as it stands, with its quotes
    body: bytes  # the JSON object as it stands


class _RequestLine(Struct):
    custom_id: Raw
    body: Raw


_request_line = msgspec.json.Decoder(_RequestLine)


def parse_shard(data: bytes, first_line: int, skip: Container[int]) -> list[Request]:
    """Return the shard's requests in input order, without those whose index is in `skip`.

    Only b"\\n" ends a line. A blank line counts in `line`, not in `index`.

    Raises:
        ValueError: a line is no request. Validation has accepted the file, so its bytes have changed since.
    """
    if first_line == 1:
        data = data.removeprefix(BOM)
    requests: list[Request] = []
    index = -1
    for line, text in enumerate(data.split(b"\n"), first_line):
        if not text or text.isspace():
            continue
        index += 1
        if index in skip:
            continue
        try:
            found = _request_line.decode(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"Line {line} is not a valid request line.") from error
        requests.append(Request(index, line, bytes(found.custom_id), bytes(found.body)))
    return requests


# Answers


class Usage(Struct, frozen=True, gc=False):
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


NO_USAGE = Usage()
Count = Annotated[int, Meta(ge=0, le=10**12)] | None


class _InputDetails(Struct, gc=False):
    cached_tokens: Count = None


class _OutputDetails(Struct, gc=False):
    reasoning_tokens: Count = None


class _Usage(Struct, gc=False):
    """The names of chat completions and embeddings, and those of responses and images."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    input_tokens: Count = None
    output_tokens: Count = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Answer(Struct, gc=False):
    usage: _Usage | None = None


class _OddAnswer(Struct):
    usage: Raw = Raw(b"null")


_answer = msgspec.json.Decoder(_Answer)
_odd_answer = msgspec.json.Decoder(_OddAnswer)
_usage = msgspec.json.Decoder(_Usage)
_anything = msgspec.json.Decoder(Raw)


def read_answer(body: bytes) -> Usage | None:
    """Return what the answer used, or None if it is not one JSON object in valid UTF-8.

    An odd or missing `usage` counts as nothing used.
    """
    try:
        _check_utf8(body)
        usage = _answer.decode(body).usage
    except RecursionError:
        return None
    except ValueError:
        return _read_odd_answer(body)
    return NO_USAGE if usage is None else _counted(usage)


def _read_odd_answer(body: bytes) -> Usage | None:
    """Read again what is odd in its usage, or anywhere."""
    try:
        _check_utf8(body)
        usage: bytes | Raw = _odd_answer.decode(body).usage
    except RecursionError:
        return None
    except ValueError:
        value = _lenient(body)
        if not isinstance(value, dict):
            return None
        usage = json.dumps(value.get("usage")).encode()
    try:
        return _counted(_usage.decode(usage))
    except ValueError:
        return NO_USAGE


_NO_INPUT_DETAILS, _NO_OUTPUT_DETAILS = _InputDetails(), _OutputDetails()


def _counted(usage: _Usage) -> Usage:
    inputs = usage.prompt_tokens_details or usage.input_tokens_details or _NO_INPUT_DETAILS
    outputs = usage.completion_tokens_details or usage.output_tokens_details or _NO_OUTPUT_DETAILS
    return Usage(
        usage.prompt_tokens or usage.input_tokens or 0,
        inputs.cached_tokens or 0,
        usage.completion_tokens or usage.output_tokens or 0,
        outputs.reasoning_tokens or 0,
    )


def _is_json(body: bytes) -> bool:
    try:
        _check_utf8(body)
        _anything.decode(body)
    except RecursionError:
        return False
    except ValueError:
        return _lenient(body) is not _INVALID
    return True


def _check_utf8(body: bytes) -> None:
    """msgspec skips over values it does not build without looking at their UTF-8."""
    if not body.isascii():
        str(body, "utf-8")


_INVALID = object()


def _lenient(body: bytes) -> object:
    """Return the value, lone surrogate escapes allowed, which msgspec refuses; _INVALID if there is none."""
    if b"\\u" not in body:
        return _INVALID
    try:
        return json.loads(str(body, "utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _INVALID


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


# Result lines


class _Ids:
    """Ids that no process gives out twice: one random part for each, and a count. The kernel is asked only once."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._prefix = secrets.token_hex(12).encode()
        self._numbers = itertools.count()

    def new(self) -> bytes:
        """Return 32 hex digits."""
        return b"%b%08x" % (self._prefix, next(self._numbers))


_ids = _Ids()
os.register_at_fork(after_in_child=_ids.renew)


class Entry(Struct, array_like=True, frozen=True, gc=False):
    """What is told of a line's result without reading it. What a segment's index consists of: fields are only added, at the end."""

    index: int  # of the request in its shard, from 0
    completed: bool  # its line goes to the output file, else to the error file
    bytes: int  # of its line
    custom_id: Raw
    attempts: int  # calls made
    status: int | None  # of the last answer, if one came
    cause: str  # "" when completed, else `http_<status>` or a Code
    latency_ms: int  # of the last call
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int


class Result(Struct, frozen=True, gc=False):
    """What became of one request."""

    entry: Entry
    line: bytes  # with its newline

    @staticmethod
    def of(
        request: Request,
        line: bytes,
        *,
        completed: bool = False,
        attempts: int,
        status: int | None,
        cause: str,
        latency_ms: int,
        usage: Usage = NO_USAGE,
    ) -> "Result":
        entry = Entry(
            request.index,
            completed,
            len(line),
            Raw(request.custom_id),
            attempts,
            status,
            cause,
            latency_ms,
            usage.input_tokens,
            usage.cached_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
        )
        return Result(entry, line)


def answer_line(request: Request, answer: Answer) -> bytes:
    """Return the result line of an HTTP answer: its bytes unchanged, but for line breaks between tokens.

    A body that is not JSON (only an error's may be so) is put into OpenAI's error shape.
    """
    body = answer.body
    if not 200 <= answer.status < 300 and not _is_json(body):
        body = _as_error(body)
    # A JSON string cannot hold a raw line break, so none of these is part of a value.
    if 10 in body or 13 in body:  # as numbers, which are looked for at a fifth of the cost
        body = body.replace(b"\n", b" ").replace(b"\r", b" ")
    new = _ids.new()
    named = answer.headers.get("x-request-id")
    request_id = named.encode() if named and REQUEST_ID.fullmatch(named) else new
    return b"".join(
        (
            b'{"id":"batch_req_%b","custom_id":%b,"response":{"status_code":%d,"request_id":"%b","body":'
            % (new, request.custom_id, answer.status, request_id),
            body,
            b'},"error":null}\n',
        )
    )


def closing_line(request: Request, code: Code, message: str = "") -> bytes:
    """Return the result line of a request that has no answer; the code's own message unless another is given."""
    error = msgspec.json.encode({"code": code, "message": message or MESSAGES[code]})
    return b'{"id":"batch_req_%b","custom_id":%b,"response":null,"error":%b}\n' % (
        _ids.new(),
        request.custom_id,
        error,
    )


def _as_error(body: bytes) -> bytes:
    message = body[:ERROR_TEXT_BYTES].decode("utf-8", "replace")
    error = {"message": message, "type": "upstream_error", "param": None, "code": None}
    return msgspec.json.encode({"error": error})
