import io

import pytest

from api.errors import ApiError, TooLarge
from api.parsers import StrictJSONParser, parse_object


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", {}),
        (b' {"a": [1, null, true, "\\u00fc", 1.5]} \n', {"a": [1, None, True, "ü", 1.5]}),
        ('{"ü": "🙂"}'.encode(), {"ü": "🙂"}),
        (b'{"a": "\\ud83d\\ude42"}', {"a": "🙂"}),
        (b'{"a": ' + b"[" * 97 + b"]" * 97 + b"}", None),
    ],
)
def test_an_object_is_read(body: bytes, expected: object) -> None:
    assert expected is None or parse_object(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"[]",
        b"null",
        b'"x"',
        b"{",
        b'{"a": 1,}',
        b"{'a': 1}",
        b'{"a": 1} {}',
        b"\xef\xbb\xbf{}",
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": "x\\u0000"}',
        b'{"a": "\x00"}',
        b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body)[:30],
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        parse_object(body)

    assert (refused.value.status_code, refused.value.code) == (400, "invalid_json")


def test_an_empty_body_is_an_empty_object() -> None:
    assert StrictJSONParser().parse(io.BytesIO(b"")) == {}


def test_a_body_above_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge):
        StrictJSONParser().parse(io.BytesIO(b'{"a": "' + b"x" * 2**20 + b'"}'))


@pytest.mark.parametrize("charset", ["utf-16", "utf-7", "latin-1"])
def test_another_charset_is_refused(charset: str) -> None:
    with pytest.raises(ApiError, match="UTF-8"):
        StrictJSONParser().parse(io.BytesIO(b"{}"), f"application/json; charset={charset}")
