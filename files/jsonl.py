"""Lines of a JSONL file, found in its bytes and never in decoded text."""

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


class Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_lines(stream: Stream, limit: int) -> Iterator[Line]:
    """Yield every line, numbered from 1, holding at most `limit` bytes and one block of 1 MB.

    A line ends at the byte "\\n" and nowhere else, or at the end of the stream; nothing comes after
    a last newline. Blank lines are lines. One of more than `limit` bytes is passed over unread.
    """
    number = start = passed = 0  # passed: bytes of the present line that were let go
    carry = b""
    while block := stream.read(BLOCK):
        whole = block.split(b"\n")
        tail = whole.pop()
        if whole:
            whole[0] = carry + whole[0]
            carry = b""
        for text in whole:
            number += 1
            end = start + passed + len(text) + 1
            yield Line(number, start, end, None if passed or len(text) > limit else text)
            start = end
            passed = 0
        carry += tail
        if len(carry) > limit:
            passed += len(carry)
            carry = b""
    if carry or passed:
        end = start + passed + len(carry)
        yield Line(number + 1, start, end, None if passed else carry)
