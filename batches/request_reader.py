"""The lines of an input file, read at a few microseconds each as long as they are good. Pure.

A line is decoded once. What no decoder tells, a key given twice above all, is looked for in the frame: the line
without its content (the messages, the input, the prompt), which is nearly all of it. Most lines of a file even
have the same frame but for the custom_id; then whatever was found in the last one holds again.
"""

import re

import msgspec
from msgspec import Raw, field

from batches.request_line import (
    LONG_NUMBER,
    MAX_CUSTOM_ID,
    MAX_DEPTH,
    MAX_DIGITS,
    REQUIRED_IN_BODY,
    Problem,
    RequestLine,
    count_inputs,
    diagnose,
)

ONCE = (b'"custom_id"', b'"method"', b'"url"', b'"body"', b'"model"')
NULL = ord("n")  # how null begins, and no other value
NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[{")

_DIGIT = re.compile(rb"[0-9]")


class _Body(msgspec.Struct, gc=False):
    model: str
    stream: bool | None = None
    content: Raw = Raw()


class _Messages(_Body):
    content: Raw = field(default=Raw(), name="messages")


class _Input(_Body):
    content: Raw = field(default=Raw(), name="input")


class _Prompt(_Body):
    content: Raw = field(default=Raw(), name="prompt")


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    method: str
    url: str
    body: _Body


class _WithMessages(_Line):
    body: _Messages


class _WithInput(_Line):
    body: _Input


class _WithPrompt(_Line):
    body: _Prompt


_SHAPES: dict[str, type[_Line]] = {
    "messages": _WithMessages,
    "input": _WithInput,
    "prompt": _WithPrompt,
}


class RequestReader:
    """Reads the lines of one file, in any order. What it says of a line does not depend on the lines before."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._required = REQUIRED_IN_BODY.get(endpoint, "input")
        self._must_have_content = endpoint in REQUIRED_IN_BODY
        self._key = b'"%b"' % self._required.encode()
        self._decode = msgspec.json.Decoder(_SHAPES[self._required]).decode
        self._counts_inputs = endpoint == "/v1/embeddings"
        # The frame of the last good line: what stands before, between and after its custom_id and its content.
        self._before = self._between = self._after = b""

    def read(self, line: bytes, number: int) -> RequestLine | list[Problem]:
        """Return what the line asks for, or every problem it has. `number`: to name it by, from 1."""
        return self._quick(line) or diagnose(line.removesuffix(b"\n"), number, self._endpoint)

    def _quick(self, line: bytes) -> RequestLine | None:
        """The line if it is good beyond doubt; None sends it the slow way."""
        try:
            if not line.isascii():
                str(line, "utf-8")  # what a decoder skips, it does not look at
            request = self._decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        custom_id, body = request.custom_id, request.body
        if not (
            custom_id.isprintable()
            and custom_id.strip()
            and len(custom_id) <= MAX_CUSTOM_ID
            and _is_shallow(line)
            and (len(line) <= MAX_DIGITS or not _has_long_number(line))
            and (self._is_known(line, custom_id, body.content) or self._check_frame(line, request))
        ):
            return None
        inputs = count_inputs(bytes(body.content)) if self._counts_inputs else 1
        return RequestLine(custom_id, body.model, inputs)

    def _is_known(self, line: bytes, custom_id: str, content: Raw) -> bool:
        """Return whether the line is the last good one but for its custom_id and content.

        Its bytes are those of the known frame around a custom_id and something as long as the content. That thing
        is the content: were it more or less than the one value there, the decoder would have found a shorter or
        longer one, since the frame names no other, or none at all.
        """
        name = custom_id.encode()
        front = self._before + name + self._between
        return (
            line.startswith(front)
            and line.endswith(self._after)
            and len(front) + len(content) + len(self._after) == len(line)
            and line[len(front)] != NULL
            and b'"' not in name
        )

    def _check_frame(self, line: bytes, request: _Line) -> bool:
        """Return whether all but the content is in order, and if so, remember it."""
        content = bytes(request.body.content)
        key = line.find(self._key) + len(self._key)
        at = line.find(content[:1], key) if content else len(line)
        after = at + len(content)
        frame = line[:at] + line[after:]
        if not (
            request.method == "POST"
            and request.url == self._endpoint
            and request.body.model
            and not request.body.stream
            and content != b"null"
            and (content or not self._must_have_content)
            and line.startswith(content, at)
            and b"\\" not in frame  # in which a key could be spelt otherwise
            # The decoder has found each of them, so one that is there once is there once.
            and all(frame.count(key) == 1 for key in ONCE)
            and frame.count(b'"stream"') <= 1
        ):
            return False
        name = request.custom_id.encode()
        start = line.find(b'"%b"' % name) + 1
        if content and frame.count(self._key) == 1 and start + len(name) < at:
            self._before, self._between = line[:start], line[start + len(name) : at]
            self._after = line[after:]
        return True


def _is_shallow(line: bytes) -> bool:
    # Every level is closed, so there are no more of them than bytes from the first closing bracket on.
    end = line.find(b"}")
    inner = line.find(b"]", 0, end)
    first = end if inner < 0 else inner
    return len(line) - first <= MAX_DEPTH or len(line.translate(None, NO_BRACKETS)) <= MAX_DEPTH


def _has_long_number(line: bytes) -> bool:
    # A longer number covers one of these places, and few lines have a digit there.
    seen = _DIGIT.search(line[MAX_DIGITS :: MAX_DIGITS + 1])
    return seen is not None and LONG_NUMBER.search(line) is not None
