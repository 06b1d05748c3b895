"""One line of an input file: what is refused and in which words, and that nothing else is."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batches.executor.lines import parse_shard
from batches.request_line import Problem, RequestLine
from batches.request_reader import RequestReader
from tests.batches.factories import CHAT, request_line

EMBEDDINGS = "/v1/embeddings"
IMAGES = "/v1/images/generations"
UNPARSEABLE = "This line is not parseable as valid JSON."
WRONG_URL = "The URL provided for this request does not match the batch endpoint."
NO_MODEL = "Model parameter is required."
STREAMING = "Chat Completions: Streaming is not supported in the Batch API."
NO_OBJECT = "This line must be a JSON object."
CONTROL = "Invalid 'custom_id': control characters are not allowed."
EMPTY_ID = "Invalid 'custom_id': it must not be empty."
GOOD = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}'


def read(line: bytes, endpoint: str = CHAT) -> Any:
    return RequestReader(endpoint).read(line.rstrip(b"\n"), 7)


def with_body(body: str) -> bytes:
    return request_line(body=body)


def without(key: str) -> bytes:
    line = json.loads(GOOD)
    del line[key]
    return json.dumps(line).encode()


def missing(key: str) -> str:
    return f"Missing required parameter: '{key}'."


def wrong_type(param: str, expected: str, got: str) -> str:
    return f"Invalid type for '{param}': expected {expected}, but got {got} instead."


# Also sent through a real server, in tests/contract/test_bad_input.py
# fmt: off
WRONG_LINES = [
    # not JSON, or not an object
    (b'{"custom_id": "a"', "invalid_json_line", UNPARSEABLE, None),
    (GOOD + b" x", "invalid_json_line", UNPARSEABLE, None),
    (GOOD + GOOD, "invalid_json_line", UNPARSEABLE, None),
    (GOOD + b"\r" + GOOD, "invalid_json_line", UNPARSEABLE, None),
    (GOOD[:-1] + b",}", "invalid_json_line", UNPARSEABLE, None),
    (GOOD[:-1] + b"/* */}", "invalid_json_line", UNPARSEABLE, None),
    (GOOD.replace(b'"', b"'"), "invalid_json_line", UNPARSEABLE, None),
    (b"\x0c" + GOOD, "invalid_json_line", UNPARSEABLE, None),
    (b"\xef\xbb\xbf" + GOOD, "invalid_json_line", UNPARSEABLE, None),
    (GOOD.replace(b'"m"', b'"\xff"'), "invalid_json_line", UNPARSEABLE, None),
    (GOOD.replace(b"[]", b'["\xff"]'), "invalid_json_line", UNPARSEABLE, None),
    (GOOD.replace(b"[]", b'["\xc0\xaf"]'), "invalid_json_line", UNPARSEABLE, None),
    (GOOD.replace(b"[]", b'["\xed\xa0\x80"]'), "invalid_json_line", UNPARSEABLE, None),
    (GOOD.replace(b'"m"', b'"\x00"'), "invalid_json_line", UNPARSEABLE, None),
    (GOOD.replace(b"[]", b'["\x1f"]'), "invalid_json_line", UNPARSEABLE, None),
    (GOOD.replace(b"[]", b'["\\ud800"]'), "invalid_json_line", UNPARSEABLE, None),
    (GOOD.replace(b"[]", b"[NaN]"), "invalid_json_line", UNPARSEABLE, None),
    (GOOD.replace(b"[]", b"[-Infinity]"), "invalid_json_line", UNPARSEABLE, None),
    (GOOD.replace(b"[]", b"[01]"), "invalid_json_line", UNPARSEABLE, None),
    (b"[]", "invalid_json_line", NO_OBJECT, None),
    (b"[" + GOOD + b"]", "invalid_json_line", NO_OBJECT, None),
    (b'"text"', "invalid_json_line", NO_OBJECT, None),
    (b"1", "invalid_json_line", NO_OBJECT, None),
    (b"null", "invalid_json_line", NO_OBJECT, None),
    # custom_id
    (without("custom_id"), "missing_required_parameter", missing("custom_id"), "custom_id"),
    (request_line(None), "invalid_type", wrong_type("custom_id", "a string", "null"), "custom_id"),
    (request_line(5), "invalid_type", wrong_type("custom_id", "a string", "an integer"), "custom_id"),
    (request_line(["a"]), "invalid_type", wrong_type("custom_id", "a string", "an array"), "custom_id"),
    (request_line({}), "invalid_type", wrong_type("custom_id", "a string", "an object"), "custom_id"),
    (request_line(True), "invalid_type", wrong_type("custom_id", "a string", "a boolean"), "custom_id"),
    (request_line(""), "invalid_custom_id", EMPTY_ID, "custom_id"),
    (request_line(" \u3000"), "invalid_custom_id", EMPTY_ID, "custom_id"),
    (
        request_line("x" * 513),
        "invalid_custom_id",
        "Invalid 'custom_id': at most 512 characters are allowed, this one has 513.",
        "custom_id",
    ),
    (request_line("a\u0000"), "invalid_custom_id", CONTROL, "custom_id"),
    (request_line("a\nb"), "invalid_custom_id", CONTROL, "custom_id"),
    (request_line("\u0085x"), "invalid_custom_id", CONTROL, "custom_id"),
    # method and url
    (without("method"), "missing_required_parameter", missing("method"), "method"),
    *(
        (
            request_line(method=method),
            "invalid_value",
            f"Invalid value: '{shown}'. Supported values are: 'POST'.",
            "method",
        )
        for method, shown in (("GET", "GET"), ("post", "post"), ("POST ", "POST "), (None, "null"))
    ),
    (without("url"), "missing_required_parameter", missing("url"), "url"),
    *(
        (request_line(url=url), "invalid_url", WRONG_URL, "url")
        for url in (
            None,
            EMBEDDINGS,
            CHAT.upper(),
            CHAT + "/",
            CHAT + "?a=b",
            CHAT + "#a",
            " " + CHAT,
            "http://169.254.169.254" + CHAT,
            "//host" + CHAT,
            "/v1/../admin",
            "/v1/%2e%2e/chat/completions",
            "\\\\host",
            CHAT + "\r\nX: y",
            "@host" + CHAT,
        )
    ),
    # body
    (without("body"), "missing_required_parameter", missing("body"), "body"),
    (with_body("null"), "invalid_type", wrong_type("body", "an object", "null"), "body"),
    (with_body('"{}"'), "invalid_type", wrong_type("body", "an object", "a string"), "body"),
    (with_body("[]"), "invalid_type", wrong_type("body", "an object", "an array"), "body"),
    (with_body('{"messages": []}'), "invalid_request", NO_MODEL, "body.model"),
    (with_body('{"model": null, "messages": []}'), "invalid_request", NO_MODEL, "body.model"),
    (with_body('{"model": "", "messages": []}'), "invalid_request", NO_MODEL, "body.model"),
    (
        with_body('{"model": 1.5, "messages": []}'),
        "invalid_type",
        wrong_type("body.model", "a string", "a number"),
        "body.model",
    ),
    *(
        (
            with_body(f'{{"model": "m", "messages": [], "stream": {stream}}}'),
            "streaming_unsupported",
            STREAMING,
            "body.stream",
        )
        for stream in ("true", '"true"', "1", "{}")
    ),
    *(
        (
            with_body(f'{{"model": "m"{rest}}}'),
            "invalid_request",
            "Messages parameter is required.",
            "body.messages",
        )
        for rest in ("", ', "messages": null')
    ),
    # the same key twice: parsers differ in which one they take
    *(
        (
            GOOD.replace(b"{", f'{{"{key}": {value},'.encode(), 1),
            "duplicate_key",
            f"The key '{key}' is given twice.",
            key,
        )
        for key, value in (("custom_id", '"a"'), ("method", '"POST"'), ("url", f'"{CHAT}"'), ("body", "{}"))
    ),
    *(
        (
            with_body(f'{{"model": "a", "{again}": "b", "messages": []}}'),
            "duplicate_key",
            "The key 'body.model' is given twice.",
            "body.model",
        )
        for again in ("model", "\\u006dodel")
    ),
    (
        with_body('{"model": "a", "messages": [], "stream": false, "stream": false}'),
        "duplicate_key",
        "The key 'body.stream' is given twice.",
        "body.stream",
    ),
    # what would break a parser further on
    (
        with_body('{"model": "m", "messages": ' + "[" * 99 + "]" * 99 + "}"),
        "invalid_json_line",
        "This line is nested too deep: at most 100 levels are allowed.",
        None,
    ),
    (
        with_body('{"model": "m", "messages": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        "invalid_json_line",
        "This line is nested too deep: at most 100 levels are allowed.",
        None,
    ),
    (
        with_body('{"model": "m", "messages": [], "n": ' + "9" * 4301 + "}"),
        "invalid_json_line",
        "This line has a number of more than 4300 digits.",
        None,
    ),
]
# fmt: on


@pytest.mark.parametrize(("line", "code", "message", "param"), WRONG_LINES)
def test_a_wrong_line_has_one_problem(
    line: bytes, code: str, message: str, param: str | None
) -> None:
    assert read(line) == [Problem(code, message, param, 7)]


@pytest.mark.parametrize(
    ("endpoint", "body", "param", "word"),
    [
        (EMBEDDINGS, '{"model": "m"}', "body.input", "Input"),
        (IMAGES, '{"model": "m", "prompt": null}', "body.prompt", "Prompt"),
    ],
)
def test_each_endpoint_asks_for_its_own_parameter(
    endpoint: str, body: str, param: str, word: str
) -> None:
    line = request_line(body=body, url=endpoint)
    assert read(line, endpoint) == [
        Problem("invalid_request", f"{word} parameter is required.", param, 7)
    ]


def test_streaming_is_refused_in_other_words_beside_chat() -> None:
    line = request_line(body='{"model": "m", "input": "x", "stream": true}', url=EMBEDDINGS)
    message = "Streaming is not supported in the Batch API."
    assert read(line, EMBEDDINGS) == [Problem("streaming_unsupported", message, "body.stream", 7)]


def test_every_problem_of_a_line_is_named_in_the_order_of_its_keys() -> None:
    problems = read(b'{"custom_id": 1, "method": "GET", "url": "x", "body": {"stream": true}}')
    assert [(problem.code, problem.param) for problem in problems] == [
        ("invalid_type", "custom_id"),
        ("invalid_value", "method"),
        ("invalid_url", "url"),
        ("invalid_request", "body.model"),
        ("streaming_unsupported", "body.stream"),
        ("invalid_request", "body.messages"),
    ]
    assert [problem.param for problem in read(b"{}")] == ["custom_id", "method", "url", "body"]


def test_an_error_quotes_little_of_what_was_sent() -> None:
    (problem,) = read(request_line(method="\x1b[31m" + "<script>" * 1000))
    assert len(problem.message) < 200
    assert problem.message.isprintable()


@pytest.mark.parametrize(
    "custom_id",
    ["a", "x" * 512, "é", "e\u0301", "👩‍👩‍👧", "__proto__", "=cmd()", "<script>", "a b", '"', "\\", "\u202e"],
)  # fmt: skip
def test_a_custom_id_of_any_printable_text_is_kept(custom_id: str) -> None:
    for line in (request_line(custom_id), json.dumps(json.loads(request_line(custom_id))).encode()):
        assert read(line) == RequestLine(custom_id, "m", 1)


@pytest.mark.parametrize(
    "body",
    [
        '{"model": "m", "messages": [], "stream": false}',
        '{"model": "m", "messages": [], "stream": null, "n": 1000000000}',
        '{"model": "m", "messages": [-0, 0.1234567890123456789, 1e400, 18446744073709551616]}',
        '{"model": "m", "messages": [' + "9" * 4300 + "]}",
        '{"model": "m", "messages": "' + "9" * 5000 + '"}',
        '{"model": "m", "messages": "' + "[" * 500 + '"}',
        '{"model": "m", "messages": ' + "[" * 98 + "]" * 98 + "}",
        '{"model": "m", "messages": ["\\u0000", "\\ud83d\\ude00", "\\u2028"]}',
        '{"model": "m", "messages": [{"model": "x", "stream": true, "a": 1, "a": 2}]}',
        '{"\\u006dodel": "m", "messages": "\\"model\\": 1, \\"stream\\": true"}',
        '{"model": "m", "messages": [1], "messages": [2]}',
        '{"\\u006dodel": "m", "messages": [1], "messages": [2]}',
        '  {"messages" : [ ] ,\t"model":"m", "constructor": {}, "": 0}',
    ],
)
def test_a_body_is_taken_as_it_is_and_goes_out_byte_for_byte(body: str) -> None:
    line = request_line(body=body)

    assert read(line) == RequestLine("a", "m", 1)
    assert [request.body for request in parse_shard(line, 1, ())] == [body.strip().encode()]


def test_unknown_keys_of_a_line_are_ignored() -> None:
    assert read(request_line(priority=5, Method="GET")) == RequestLine("a", "m", 1)


@pytest.mark.parametrize(
    ("value", "inputs"),
    [('"text"', 1), ('""', 1), ("[]", 1), ('["a", "b", "c"]', 3), ("[1, 2, 3]", 1), ("[[1, 2], [3]]", 2)],
)  # fmt: skip
def test_inputs_of_an_embeddings_line_are_counted(value: str, inputs: int) -> None:
    line = request_line(body=f'{{"model": "m", "input": {value}}}', url=EMBEDDINGS)
    escaped = line.replace(b'"model"', b'"\\u006dodel"')  # the slow way counts alike
    assert read(line, EMBEDDINGS) == read(escaped, EMBEDDINGS) == RequestLine("a", "m", inputs)


TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from(["POST", CHAT]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
BODIES = JSON | st.fixed_dictionaries(
    {}, optional={"model": JSON, "messages": JSON, "stream": JSON, "\ud800": JSON}
)
LINES = st.fixed_dictionaries(
    {}, optional={"custom_id": JSON, "method": JSON, "url": JSON, "body": BODIES}
).map(lambda line: json.dumps(line).encode())


DAMAGED = st.builds(
    lambda start, end, piece: GOOD[:start] + piece + GOOD[end:],
    st.integers(0, len(GOOD)),
    st.integers(0, len(GOOD)),
    st.binary(max_size=3),
)


@given((st.binary(max_size=60) | LINES | DAMAGED).filter(lambda line: b"\n" not in line))
@example(GOOD)
def test_whatever_is_accepted_can_be_sent_and_nothing_breaks_the_reader(line: bytes) -> None:
    found = read(line)

    if isinstance(found, RequestLine):
        (request,) = parse_shard(line, 2, ())
        sent = json.loads(line)
        assert json.loads(request.custom_id) == found.custom_id == sent["custom_id"]
        assert json.loads(request.body) == sent["body"]
        assert (sent["method"], sent["url"], sent["body"]["model"]) == ("POST", CHAT, found.model)
        assert not sent["body"].get("stream")
    else:
        assert found
        assert all(problem.line == 7 for problem in found)


@pytest.mark.parametrize("before", [0, 1, 4299, 4300, 4301, 9000])
def test_a_number_beyond_reach_is_found_wherever_it_stands(before: int) -> None:
    body = f'{{"model": "m", "messages": ["{"x" * before}", {"9" * 4301}]}}'
    (problem,) = read(request_line(body=body))
    assert "more than 4300 digits" in problem.message


@pytest.mark.parametrize(
    "again", ['"method": 5, ', '"url": null, ', '"body": {}, ', '"x": {"body": {}}, ']
)
def test_a_key_that_stands_twice_is_never_taken_for_plain(again: str) -> None:
    line = request_line().replace(b"{", b"{" + again.encode(), 1)
    problems = read(line)
    is_twice = not again.startswith('"x"')
    assert isinstance(problems, list) == is_twice
    if is_twice:
        assert [problem.code for problem in problems] == ["duplicate_key"]
