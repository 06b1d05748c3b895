"""An answer is read the same however its bytes are cut, and what is no answer is refused."""

import gc
from contextlib import suppress
from itertools import pairwise

import pytest
from httptools import HttpResponseParser
from hypothesis import given
from hypothesis import strategies as st

from batches.executor.http_message import MAX_HEAD_BYTES, Reader, request_head
from batches.executor.transport import Answer, Kind, TransportError

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Type: application/json\r\nX-Request-Id:  a b \r\nContent-Length: 9\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
BODY = b'{"a": 12}'

# name: (bytes, body, may the connection be kept)
ANSWERS = {
    "sized": (SIZED + BODY, BODY, True),
    "empty": (OK + b"Content-Length: 0\r\n\r\n", b"", True),
    "chunked": (CHUNKED + b"4\r\n" + BODY[:4] + b"\r\n5;x=y\r\n" + BODY[4:] + b"\r\n0\r\nT: x\r\n\r\n",
                BODY, True),
    "interim first": (INTERIM + SIZED + BODY, BODY, True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"", True),
    "closing": (OK + b"Connection: close\r\nContent-Length: 9\r\n\r\n" + BODY, BODY, False),
    "keeping": (OK + b"Connection: Keep-Alive\r\nContent-Length: 9\r\n\r\n" + BODY, BODY, True),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n" + BODY, BODY, False),
    "repeated header": (OK + b"Set-Cookie: a\r\nset-cookie: b\r\nContent-Length: 9\r\n\r\n" + BODY,
                        BODY, True),
    "no reason": (b"HTTP/1.1 500 \r\nContent-Length: 9\r\n\r\n" + BODY, BODY, True),
    "more than announced": (SIZED + BODY + b"HTTP/1.1 200 OK\r\n", BODY, False),
    "more than chunks": (CHUNKED + b"0\r\n\r\nHTTP/1.1 200", b"", False),
    "rubbish behind": (CHUNKED + b"0\r\n\r\n\x00", b"", False),
    "latin": (OK + b"X: \xe9\r\nContent-Length: 9\r\n\r\n" + BODY, BODY, True),
}  # fmt: skip
TO_THE_END = {
    "unsized": OK + b"X: y\r\n\r\n",
    "old and unsized": b"HTTP/1.0 200 OK\r\n\r\n",
}
BROKEN = {
    "ssh": b"SSH-2.0-OpenSSH\r\n\r\n",
    "http/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 9\r\n\r\n" + BODY,
    "length and chunks": OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "signed length": OK + b"Content-Length: +9\r\n\r\n" + BODY,
    "negative length": OK + b"Content-Length: -9\r\n\r\n" + BODY,
    "endless length": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + BODY,
    "bad chunk": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "chunk without end": CHUNKED + b"2\r\n{}xx0\r\n\r\n",
    "name with a space": OK + b"X Y: z\r\nContent-Length: 9\r\n\r\n" + BODY,
    "control character": OK + b"X: \x00\r\nContent-Length: 9\r\n\r\n" + BODY,
    "upgrade": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxxx",
}
ENDLESS = {
    "header": OK + b"X: " + b"x" * MAX_HEAD_BYTES + b"\r\nContent-Length: 9\r\n\r\n" + BODY,
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 4000,
    "reason": b"HTTP/1.1 200 " + b"x" * MAX_HEAD_BYTES,
    "trailer": CHUNKED + b"0\r\nX: " + b"x" * 3 * MAX_HEAD_BYTES,
    "extension": CHUNKED + b"1;" + b"x" * 3 * MAX_HEAD_BYTES,
}


def params(table):
    return [
        pytest.param(*(row if isinstance(row, tuple) else (row,)), id=name)
        for name, row in table.items()
    ]


def read(*pieces, max_bytes=1000) -> tuple[Answer, bool]:
    """Feed until there is an answer; return it, and whether its connection may be kept."""
    reader = Reader(max_bytes)
    for number, piece in enumerate(pieces, 1):
        answer = reader.feed(piece)
        if answer is not None:
            return answer, reader.keep and number == len(pieces)
    return reader.end(), reader.keep


def plain(answer):
    return answer.status, dict(answer.headers), answer.body


@pytest.mark.parametrize(("raw", "body", "keep"), params(ANSWERS))
def test_an_answer_is_the_same_wherever_it_is_cut(raw, body, keep):
    whole, kept = read(raw)
    assert (whole.body, kept) == (body, keep)

    for cut in range(1, len(raw)):
        answer, kept = read(raw[:cut], raw[cut:])
        assert (plain(answer), kept) == (plain(whole), keep), f"cut at {cut}"
    assert plain(read(*(raw[at : at + 1] for at in range(len(raw))))[0]) == plain(whole)


@given(st.sampled_from(sorted(ANSWERS)), st.lists(st.integers(1, 200), max_size=8))
def test_an_answer_is_the_same_in_any_pieces(name, cuts):
    raw = ANSWERS[name][0]
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    pieces = [raw[start:end] for start, end in pairwise(edges)]

    assert plain(read(*pieces)[0]) == plain(read(raw)[0])


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=20))
def test_a_body_is_kept_byte_for_byte_sized_or_in_chunks(body, sizes):
    chunks, rest = [], body
    for size in [*sizes, len(body)]:
        if rest:
            piece, rest = rest[:size], rest[size:]
            chunks.append(b"%x\r\n%b\r\n" % (len(piece), piece))

    assert read(CHUNKED + b"".join(chunks) + b"0\r\n\r\n")[0].body == body
    assert read(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)[0].body == body


@given(st.binary(max_size=400), st.integers(0, len(SIZED)))
def test_nothing_but_a_transport_error_comes_of_rubbish(rubbish, start):
    raw = SIZED[:start] + rubbish
    for pieces in ([raw], [raw[:7], raw[7:]]):
        with suppress(TransportError):
            read(*pieces)


def test_headers_have_lower_case_names_and_bare_values():
    headers = read(SIZED + BODY)[0].headers

    assert headers == {
        "content-type": "application/json",
        "x-request-id": "a b",
        "content-length": "9",
    }


@pytest.mark.parametrize("raw", params(TO_THE_END))
def test_without_a_length_the_end_of_the_connection_ends_the_answer(raw):
    for cut in range(1, len(raw)):
        answer, kept = read(raw[:cut], raw[cut:] + BODY[:2], BODY[2:])
        assert (answer.status, answer.body, kept) == (200, BODY, False)


@pytest.mark.parametrize("raw", params(BROKEN))
def test_what_is_no_answer_is_broken(raw):
    for pieces in ([raw], [raw[:20], raw[20:]], [raw[:-1], raw[-1:]]):
        with pytest.raises(TransportError) as caught:
            read(*pieces)
        assert caught.value.kind is Kind.BROKEN


@pytest.mark.parametrize("raw", params(ENDLESS))
@pytest.mark.parametrize("size", [100, 1 << 18])
def test_what_does_not_end_is_cut_off(raw, size):
    reader = Reader(1000)
    with pytest.raises(TransportError) as caught:
        list(map(reader.feed, (raw[start : start + size] for start in range(0, len(raw), size))))
    assert caught.value.kind is Kind.BROKEN


@pytest.mark.parametrize(("raw", "body", "keep"), params(ANSWERS))
def test_half_an_answer_is_broken(raw, body, keep):
    whole = len(raw) if keep else raw.index(b"\r\n\r\n")
    for end in range(whole):
        with pytest.raises(TransportError) as caught:
            read(raw[:end])
        assert caught.value.kind is Kind.BROKEN


@pytest.mark.parametrize(
    "head", [SIZED, CHUNKED, OK + b"\r\n"], ids=["sized", "chunked", "unsized"]
)
def test_the_cap_is_on_the_body_to_the_byte(head):
    framed = b"9\r\n" + BODY + b"\r\n0\r\n\r\n" if head is CHUNKED else BODY

    assert read(head + framed, max_bytes=9)[0].body == BODY
    for cut in range(1, len(head + framed)):
        with pytest.raises(TransportError) as caught:
            read((head + framed)[:cut], (head + framed)[cut:], max_bytes=8)
        assert caught.value.kind is Kind.TOO_LARGE


def test_an_announced_length_over_the_cap_is_refused_before_the_body_comes():
    for raw in (
        OK + b"Content-Length: 1001\r\n\r\n",
        OK + b"A: b\r\nA: c\r\nContent-Length: 1001\r\n\r\n",
    ):
        with pytest.raises(TransportError) as caught:
            Reader(1000).feed(raw)
        assert caught.value.kind is Kind.TOO_LARGE


@pytest.mark.parametrize("header", [b"Content-Encoding: gzip", b"Transfer-Encoding: gzip, chunked"])
def test_an_encoding_is_refused(header):
    raw = (
        OK
        + header
        + b"\r\n"
        + (b"" if b"chunked" in header else b"Content-Length: 9\r\n")
        + b"\r\n"
    )
    for cut in (5, len(raw)):
        with pytest.raises(TransportError) as caught:
            read(raw[:cut], raw[cut:] + BODY)
        assert caught.value.kind is Kind.ENCODED


def test_identity_is_no_encoding():
    assert (
        read(OK + b"Content-Encoding: Identity\r\nContent-Length: 9\r\n\r\n" + BODY)[0].body == BODY
    )


def test_an_answer_in_many_chunks_of_one_byte_is_taken():
    raw = CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n"

    assert read(raw, max_bytes=50_000)[0].body == b"x" * 50_000


def test_a_released_reader_leaves_nothing_for_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        for raw in (ANSWERS["chunked"][0], CHUNKED + b"5\r\n"):
            reader = Reader(1000)
            reader.feed(raw)
            reader.release()
        del reader
        assert not any(isinstance(one, HttpResponseParser) for one in gc.get_objects())
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("url", "origin", "lines"),
    [
        ("http://h/v1/x", ("http", "h", 80), ["POST /v1/x HTTP/1.1", "Host: h"]),
        ("https://h.example?a=b", ("https", "h.example", 443), ["POST /?a=b HTTP/1.1", "Host: h.example"]),
        ("http://u:p@[::1]:81/x#y", ("http", "::1", 81), ["POST /x HTTP/1.1", "Host: [::1]:81"]),
    ],
)  # fmt: skip
def test_where_a_request_goes(url, origin, lines):
    assert request_head(url, {"a": "b"}) == (origin, "\r\n".join([*lines, "a: b", ""]).encode())


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("nonsense", {}), ("ftp://h/x", {}), ("http:///x", {}), ("http://h:99999/", {}),
        ("http://[::1/x", {}), ("http://h/a b", {}), ("http://h/\r\nX: y", {}), ("http://h/\xe9", {}),
        ("http://h/", {"authorization": "Bearer sk-secret\n"}), ("http://h/", {"a b": "c"}),
        ("http://h/", {"a": "\u20ac"}),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused_without_repeating_it(url, headers):
    with pytest.raises(TransportError) as caught:
        request_head(url, headers)

    assert caught.value.kind is Kind.UNREACHABLE
    assert "secret" not in str(caught.value)
