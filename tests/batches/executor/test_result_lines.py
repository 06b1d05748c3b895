import json
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches.executor.lines import (
    MESSAGES,
    NO_USAGE,
    Code,
    Request,
    Usage,
    answer_line,
    closing_line,
    parse_shard,
    read_answer,
)
from batches.executor.transport import Answer

LINE = b'{"custom_id":"%b","method":"POST","url":"/v1/embeddings","body":{"n":%b}}'
REQUEST = Request(0, 1, b'"a"', b"{}")


def line(name: bytes, n: bytes = b"1") -> bytes:
    return LINE % (name, n)


# Request lines


def test_requests_keep_their_bytes():
    body = b'{ "n" : 1.0e2, "big": 123456789012345678901234567890, "\\u00e9":"\xc3\xa9" }'
    text = b'\t{ "body" : %b , "custom_id" : "\\u0061/\xf0\x9f\x98\x80", "url":"x"} \r' % body

    (request,) = parse_shard(text, 1, ())

    assert request == Request(0, 1, b'"\\u0061/\xf0\x9f\x98\x80"', body)


def test_blank_lines_count_in_line_but_not_in_index():
    text = b"\n".join([line(b"a"), b"", b" \t\r", line(b"b"), line(b"c"), b""])

    requests = parse_shard(text, 11, ())

    assert [(r.index, r.line, r.custom_id) for r in requests] == [
        (0, 11, b'"a"'),
        (1, 14, b'"b"'),
        (2, 15, b'"c"'),
    ]


def test_requests_already_answered_are_left_out():
    text = b"\n".join(line(name) for name in (b"a", b"b", b"c"))

    assert [(r.index, r.line) for r in parse_shard(text, 1, {0, 2})] == [(1, 2)]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c"])
def test_only_a_newline_ends_a_line(separator):
    text = line(b"a" + separator.encode()) if separator > "\x1f" else line(b"a") + b"\n"

    assert len(parse_shard(text, 1, ())) == 1


def test_a_byte_order_mark_is_dropped_from_the_first_line_of_the_file_only():
    text = b"\xef\xbb\xbf" + line(b"a")

    assert parse_shard(text, 1, ())[0].custom_id == b'"a"'
    with pytest.raises(ValueError, match="Line 2 is not a valid request line"):
        parse_shard(text, 2, ())


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b'{"custom_id":"a"}', b"nul", b'{"custom_id":"a","body":{]}']
)
def test_a_line_that_has_changed_since_validation_is_named(text):
    with pytest.raises(ValueError, match="Line 8 is not a valid request line"):
        parse_shard(line(b"a") + b"\n" + text, 7, ())


# Answers


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, Usage(3, 0, 4, 0)),
        (
            {
                "prompt_tokens": 3,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            Usage(3, 1, 4, 2),
        ),
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8, 0, 0, 0)),
        (
            {
                "input_tokens": 3,
                "output_tokens": 4,
                "input_tokens_details": {"cached_tokens": 1},
                "output_tokens_details": {"reasoning_tokens": 2},
            },
            Usage(3, 1, 4, 2),
        ),
        (
            {"prompt_tokens": 3, "completion_tokens": None, "prompt_tokens_details": None},
            Usage(3, 0, 0, 0),
        ),
        (None, NO_USAGE),
        ("many", NO_USAGE),
        ([], NO_USAGE),
        ({"prompt_tokens": "3"}, NO_USAGE),
        ({"prompt_tokens": -3}, NO_USAGE),
        ({"prompt_tokens": 1e30}, NO_USAGE),
        ({"prompt_tokens": 10**30}, NO_USAGE),
    ],
)
def test_usage_is_counted_and_never_fails_a_good_answer(usage, counted):
    assert read_answer(json.dumps({"id": "x", "usage": usage}).encode()) == counted


@pytest.mark.parametrize(
    "body", [b"{}", b' \r\n{"a":1e400}\n', b'{"a":"\\ud800"}', b'{"a":"\xc3\xa9"}']
)
def test_an_object_is_an_answer(body):
    assert read_answer(body) == NO_USAGE


def test_usage_is_counted_beside_a_lone_surrogate():
    assert read_answer(b'{"a":"\\ud800","usage":{"prompt_tokens":2}}') == Usage(2, 0, 0, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"x"',
        b"1",
        b"null",
        b"<html>",
        b'{"a":',
        b"{}{}",
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":NaN}',
        b'{"a":"\\ud800","b":NaN}',
        b'{"a":"\\ud800"',
        b'["\\ud800"]',
        b"\xef\xbb\xbf{}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=range(16),
)
def test_anything_else_is_no_answer(body):
    assert read_answer(body) is None


# Result lines


def parsed(text: bytes) -> dict:
    assert text.endswith(b"\n")
    assert b"\n" not in text[:-1]
    assert b"\r" not in text
    value = json.loads(text)
    assert list(value) == ["id", "custom_id", "response", "error"]
    assert value["id"].startswith("batch_req_")
    assert len(value["id"]) == len("batch_req_") + 32
    return value


def test_an_answer_is_kept_byte_for_byte():
    body = b'{ "a":1.0, "big":123456789012345678901234567890, "e":"\\u00e9\xc3\xa9\\ud800" ,"a":2}'

    text = answer_line(REQUEST, Answer(200, {"x-request-id": "req_1"}, body))

    assert b'"response":{"status_code":200,"request_id":"req_1","body":' + body + b"}" in text
    assert parsed(text)["error"] is None


def test_line_breaks_between_tokens_become_spaces():
    body = b'{\r\n  "a": "x\\n"\n}\r\n'

    text = answer_line(REQUEST, Answer(200, {}, body))

    assert parsed(text)["response"]["body"] == {"a": "x\n"}
    assert len(body.replace(b"\n", b" ").replace(b"\r", b" ")) == len(body)
    assert body.replace(b"\n", b" ").replace(b"\r", b" ") in text


@pytest.mark.parametrize("given_id", [None, "", "a b", 'a"b', "é", "x" * 129, "a\n"])
def test_an_odd_request_id_is_replaced(given_id):
    headers = {} if given_id is None else {"x-request-id": given_id}

    made = parsed(answer_line(REQUEST, Answer(200, headers, b"{}")))["response"]["request_id"]

    assert len(made) == 32
    int(made, 16)


@pytest.mark.parametrize("body", [b'{"error":{"code":400}}', b'"text"', b"[1]", b'{"a":"\\ud800"}'])
def test_an_error_in_json_is_kept(body):
    assert b'"body":' + body + b"}" in answer_line(REQUEST, Answer(400, {}, body))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", ""),
        (b'<html>"502"\n</html>', '<html>"502"\n</html>'),
        (b"caf\xe9", "caf\ufffd"),
        (b'{"a":"\xff"}', '{"a":"\ufffd"}'),
        (b"x" * 70_000, "x" * 65_536),
        (b"[" * 70_000, "[" * 65_536),
    ],
    ids=["empty", "html", "latin-1", "bad utf-8 in json", "long", "deep"],
)
def test_an_error_that_is_no_json_is_wrapped(body, message):
    response = parsed(answer_line(REQUEST, Answer(502, {}, body)))["response"]

    assert response["status_code"] == 502
    assert response["body"] == {
        "error": {"message": message, "type": "upstream_error", "param": None, "code": None}
    }


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_line_with_its_message(code):
    value = parsed(closing_line(REQUEST, code))

    assert value["response"] is None
    assert value["error"] == {"code": code.value, "message": MESSAGES[code]}


def test_the_official_messages_are_exact():
    assert MESSAGES[Code.BATCH_EXPIRED] == (
        "This request could not be executed before the completion window expired."
    )
    assert MESSAGES[Code.BATCH_CANCELLED] == (
        "This request was not executed because the batch was cancelled."
    )


def test_ids_are_unique():
    lines = [closing_line(REQUEST, Code.BATCH_CANCELLED) for _ in range(1000)]

    assert len({parsed(text)["id"] for text in lines}) == 1000


@given(
    st.text(st.characters(codec="utf-8")),
    st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
)
def test_what_goes_in_comes_out(custom_id, body):
    line_in = json.dumps({"custom_id": custom_id, "body": body}, ensure_ascii=False).encode()
    answer = json.dumps(body, indent=1).encode()

    (request,) = parse_shard(line_in, 1, ())
    value = parsed(answer_line(request, Answer(200, {}, answer)))

    assert json.loads(request.body) == body
    assert value["custom_id"] == custom_id
    assert value["response"]["body"] == body


FORK = """
import os
from batches.executor.lines import Code, Request, closing_line
def ids():
    lines = [closing_line(Request(0, 1, b'"a"', b"{}"), Code.BATCH_EXPIRED) for _ in range(3)]
    return b" ".join(line[7:49] for line in lines)
ids()
ends = os.pipe()
if not os.fork():
    os.write(ends[1], ids())
    os._exit(0)
os.wait()
print(ids().decode(), os.read(ends[0], 1000).decode())
"""


def test_processes_that_share_a_past_share_no_id():
    told = subprocess.run([sys.executable, "-c", FORK], check=True, capture_output=True, text=True)

    ids = told.stdout.split()
    assert len(ids) == len(set(ids)) == 6
    assert all(re.fullmatch("batch_req_[0-9a-f]{32}", id) for id in ids)
