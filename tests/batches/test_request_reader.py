"""The quick way of reading lines: what it remembers of one line never changes what it says of the next."""

import functools
import json
from typing import Any

import pytest

from batches.request_line import RequestLine
from batches.request_reader import RequestReader
from tests.batches.factories import CHAT

EMBEDDINGS = "/v1/embeddings"
IMAGES = "/v1/images/generations"
CONTENT = {CHAT: "messages", EMBEDDINGS: "input", IMAGES: "prompt"}
PLAIN = '{"custom_id": "%s", "method": "POST", "url": "%s", "body": {"model": "m", "%s": %s}}\n'

LONG = '"long enough for keys"'  # and no longer than `[], "model": "nnnnnnn"`

# As a custom_id or as content, bytes that could make one line look like another.
IDS = [
    "a",
    "b",
    "",
    " ",
    "\\u0061",
    '\\"',
    'a", "method": "GET", "x": "',
    "custom_id",
    "messages",
    "é",
    "\\ud800",
]
VALUES = [
    "[]",
    "null",
    '"model"',
    '"method"',
    '"text, \\"model\\": 1"',
    '{"model": "x"}',
    '[], "model": "n"',
    '[], "messages": []',
    '[], "messages": [[[[[[[[[["aaaaaaaaaaa"]]]]]]]]]]',
    '[], "stream": true',
    '[]}, "url": "/v1/other", "body": {"model": "m", "messages": []',
    "[" * 99 + "]" * 99,
    "[" * 98 + "]" * 98,
    "9" * 4301,
    f'{LONG}, "messages": {LONG}',
    f'[], "model": "nnnnnnn", "messages": {LONG}',
    '["a", ["b", "c"]]',
]  # fmt: skip


TAILS = [
    "",
    ', "morel": "m"',
    ', "n": 1',
    ', "stream": false',
    ', "stream": true',
    ', "model": "m"',
    ', "": ","',
]


def line(endpoint: str, custom_id: str, value: str, tail: str = "") -> bytes:
    text = PLAIN % (custom_id, endpoint, CONTENT[endpoint], value)
    return text.replace("}}\n", f"{tail}}}}}\n").encode()


FIRST = [
    line(CHAT, custom_id, value, tail)
    for custom_id in ("a", "messages")
    for value in ("[]", '"model"', '{"model": "x"}', f'{LONG}, "messages": {LONG}')
    for tail in TAILS
]
SECOND = [
    line(CHAT, custom_id, value, tail).replace(b"POST", method)
    for custom_id in IDS
    for value in VALUES
    for tail in TAILS
    for method in (b"POST", b"PUSH")
]


@pytest.mark.parametrize("first", FIRST)
def test_a_line_is_read_alike_whatever_was_read_before(first: bytes) -> None:
    reader = RequestReader(CHAT)

    for text in SECOND:
        reader.read(first, 1)
        assert reader._quick(text) in (None, alone(text))


@functools.cache
def alone(text: bytes) -> Any:
    return RequestReader(CHAT).read(text, 2)


@pytest.mark.parametrize("text", [text for text in SECOND if isinstance(alone(text), RequestLine)])
def test_what_is_accepted_names_each_key_once(text: bytes) -> None:
    pairs: Any = json.loads(text, object_pairs_hook=list)
    keys = [key for key, _ in pairs]
    names = [key for key, _ in dict(pairs)["body"]]

    assert [keys.count(key) for key in ("custom_id", "method", "url", "body")] == [1] * 4
    assert (names.count("model"), names.count("stream") <= 1) == (1, True)
    assert dict(dict(pairs)["body"])["messages"] is not None


@pytest.mark.parametrize("endpoint", list(CONTENT))
def test_lines_of_one_kind_are_read_the_quick_way(endpoint: str) -> None:
    reader = RequestReader(endpoint)
    texts = [line(endpoint, f"r-{n}", json.dumps(f"text {n}")) for n in range(20)]
    kinds = [[text, text.replace(b": ", b":").replace(b", ", b",")] for text in texts]

    assert all(reader._quick(text) is not None for kind in kinds for text in kind)


@pytest.mark.parametrize("deep", [97, 98])
def test_depth_is_counted_in_the_line_as_a_whole(deep: int) -> None:
    value = "[" * deep + "1" * 200 + "]" * deep  # with the line's and the body's own braces
    found = RequestReader(CHAT).read(line(CHAT, "a", f"[{value}, {{}}]"), 1)

    assert isinstance(found, RequestLine) == (deep <= 97)


def test_the_quick_way_and_the_slow_way_agree_on_how_deep_is_too_deep() -> None:
    for deep in range(95, 102):
        text = line(CHAT, "a", "[" * deep + "]" * deep)
        assert isinstance(RequestReader(CHAT).read(text, 1), RequestLine) == (deep + 2 <= 100)
