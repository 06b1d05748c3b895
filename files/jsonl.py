"""Lines of a JSONL file, found in its bytes and never in decoded text."""

import io
from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

BLOCK = 1024 * 1024


class Line(Struct, gc=False):
    """One physical line. `start` is its first byte in the stream, `end` the one after its newline.

    `bytes` is the line without its newline, or None when that is longer than the limit.
    """

    number: int
    start: int
    end: int
    bytes: bytes | None


class Block(Struct, gc=False):
    """Lines that follow each other, each with its newline, which the last one of the stream may lack.

    `number` and `start` are the first one's, as in Line. No lines: one from `start` to before `end` is longer than
    the limit.
    """

    number: int
    start: int
    end: int
    lines: list[bytes]


class Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_lines(stream: Stream, limit: int) -> Iterator[Line]:
    """Yield every line, numbered from 1, holding at most `limit` bytes and three blocks of 1 MB.

    A line ends at the byte "\\n" and nowhere else, or at the end of the stream; nothing comes after
    a last newline. Blank lines are lines. One of more than `limit` bytes is passed over unread.
    """
    for block in read_blocks(stream, limit):
        if not block.lines:
            yield Line(block.number, block.start, block.end, None)
        start = block.start
        for number, text in enumerate(block.lines, block.number):
            end = start + len(text)
            yield Line(number, start, end, text.removesuffix(b"\n"))
            start = end


def read_blocks(stream: Stream, limit: int) -> Iterator[Block]:
    """Yield the same lines, as many at a time as were read at once."""
    number, start = 1, 0
    for whole, passed in _whole_lines(stream, limit):
        if passed:
            yield Block(number, start, start + passed, [])
            number, start = number + 1, start + passed
            continue
        lines = io.BytesIO(whole).readlines()
        yield Block(number, start, start + len(whole), lines)
        number, start = number + len(lines), start + len(whole)


def _whole_lines(stream: Stream, limit: int) -> Iterator[tuple[bytes, int]]:
    """Yield (bytes of whole lines, 0), or (b"", the bytes of one line that is too long)."""
    carry, passed = b"", 0  # of a line whose newline has not come; bytes of it that were let go
    while block := stream.read(BLOCK):
        first = block.find(b"\n") + 1
        if not first:
            carry += block
        else:
            last = block.rfind(b"\n") + 1
            if passed or len(carry) + first - 1 > limit:
                yield b"", passed + len(carry) + first
                whole = block[first:last]
            else:
                whole = carry + block[:last]
            carry, passed = block[last:], 0
            if whole:
                yield from _within(whole, limit)
        if passed or len(carry) > limit:
            carry, passed = b"", passed + len(carry)
    if carry or passed:
        yield carry, passed


def _within(whole: bytes, limit: int) -> Iterator[tuple[bytes, int]]:
    """Take out the lines that are too long, of which there are some only if a block holds more than the limit."""
    if limit >= BLOCK or max(map(len, lines := io.BytesIO(whole).readlines())) <= limit:
        yield whole, 0
        return
    for line in lines:
        is_long = len(line.removesuffix(b"\n")) > limit
        yield (b"", len(line)) if is_long else (line, 0)
