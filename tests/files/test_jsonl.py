import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from files.jsonl import BLOCK, Line, read_lines


def lines(content: bytes, limit: int = 100) -> list[Line]:
    return list(read_lines(io.BytesIO(content), limit))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\n\nb", [b"a", b"", b"b"]),
        (b"a\r\nb\r\n", [b"a\r", b"b\r"]),
        (b"a\rb\n", [b"a\rb"]),
        ("a\u2028b\x0b\x0c\x85\x1c\n".encode(), ["a\u2028b\x0b\x0c\x85\x1c".encode()]),
    ],
)
def test_a_line_ends_at_a_newline_byte_and_nowhere_else(
    content: bytes, expected: list[bytes]
) -> None:
    assert [line.bytes for line in lines(content)] == expected


def test_lines_are_numbered_from_one_and_their_ranges_adjoin() -> None:
    assert lines(b"ab\n\nc") == [Line(1, 0, 3, b"ab"), Line(2, 3, 4, b""), Line(3, 4, 5, b"c")]


def test_a_line_at_the_limit_is_read_and_one_byte_more_is_passed_over() -> None:
    assert [line.bytes for line in lines(b"aaa\nbbbb\nccc", limit=3)] == [b"aaa", None, b"ccc"]


def test_a_line_longer_than_a_block_is_passed_over_and_the_next_has_the_right_place() -> None:
    long = b"x" * (3 * BLOCK)

    first, second = lines(long + b"\nb\n")

    assert first == Line(1, 0, len(long) + 1, None)
    assert second == Line(2, len(long) + 1, len(long) + 3, b"b")


def test_a_long_line_is_not_held() -> None:
    class Endless:
        """Sixty-four blocks without a newline; it keeps none of them."""

        left = 64

        def read(self, size: int, /) -> bytes:
            self.left -= 1
            return b"x" * size if self.left >= 0 else b""

    import tracemalloc

    tracemalloc.start()
    (line,) = read_lines(Endless(), limit=BLOCK)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert line == Line(1, 0, 64 * BLOCK, None)
    assert peak < 8 * BLOCK


class Trickle:
    """A stream that gives a few bytes at a time, as at the border of two parts."""

    def __init__(self, content: bytes, step: int) -> None:
        self.stream = io.BytesIO(content)
        self.step = step

    def read(self, size: int, /) -> bytes:
        return self.stream.read(min(size, self.step))


@given(st.binary(max_size=60), st.integers(1, 7), st.integers(0, 12))
def test_the_lines_do_not_depend_on_how_the_bytes_arrive(
    content: bytes, step: int, limit: int
) -> None:
    whole = list(read_lines(io.BytesIO(content), limit))

    assert list(read_lines(Trickle(content, step), limit)) == whole
    assert b"".join(content[line.start : line.end] for line in whole) == content
    for line in whole:
        text = content[line.start : line.end].removesuffix(b"\n")
        assert line.bytes == (text if len(text) <= limit else None)
