"""Bad input through a real server and a real worker: each gets its one clear refusal, and never a 5xx."""

import json
import time
from typing import Any

import openai
import pytest

from tests.batches.test_create import WRONG_BODIES
from tests.batches.test_request_line import WRONG_LINES
from tests.contract.lines import CHAT, request_line, request_lines
from tests.support.server import Answer, request
from tests.support.stack import Stack

MOST_ERRORS = 50  # of one file, well below the 100 that are listed
ENDS = {"completed", "failed", "expired", "cancelled"}
GOOD = {"endpoint": CHAT, "completion_window": "24h", "input_file_id": "file-" + "0" * 32}

WRONG_VALUES: list[tuple[str, Any]] = [
    *(("input_file_id", value) for value in (None, 5, [], True, "x" * 10_000)),
    *(("endpoint", value) for value in (None, "", "/V1/CHAT/COMPLETIONS", "http://x" + CHAT, 1)),
    *(("completion_window", value) for value in ("24H", "1h", 24, "", "999999999h", "-1h")),
    *(
        ("metadata", value)
        for value in (
            {str(number): "x" for number in range(17)},
            {"k" * 65: "x"},
            {"k": "x" * 513},
            {"k": 5},
            {"k": None},
            {"k": {}},
            {"": "x"},
            [],
            "x",
        )
    ),
    *(("max_concurrency", value) for value in (0, -1, "5", 1.5, True, 2**31)),
    *(
        ("output_expires_after", value)
        for value in (
            {},
            {"anchor": "created_at"},
            {"anchor": "x", "seconds": 3600},
            {"anchor": "created_at", "seconds": 3599},
            {"anchor": "created_at", "seconds": 2592001},
            {"anchor": "created_at", "seconds": "abc"},
            5,
        )
    ),
]

WRONG_TARGETS = [
    *(("GET", f"/v1/batches?limit={limit}", 400) for limit in ("abc", "-1", "0", "101", "1e30")),
    ("GET", "/v1/batches?limit=" + "9" * 5000, 400),
    ("GET", "/v1/batches?limit=%D9%A3", 400),
    ("GET", "/v1/batches?limit=1&limit=2", 400),
    ("GET", "/v1/batches?after=file-" + "0" * 32, 400),
    ("GET", "/v1/batches?after=batch_" + "0" * 32, 404),
    ("GET", "/v1/batches?after=batch_%00", 404),
    ("GET", "/v1/batches/batch_%00", 404),
    ("GET", "/v1/batches/batch_%ff", 404),
    ("GET", "/v1/batches/batch_" + "x" * 5000, 404),
    ("GET", "/v1/batches/batch_%F0%9F%98%80", 404),
    ("GET", "/v1/batches/file-" + "0" * 32, 400),
    ("GET", "/v1/batches/..", 400),
    ("POST", "/v1/batches/batch_" + "0" * 32 + "/cancel", 404),
    ("DELETE", "/v1/batches/batch_" + "0" * 32, 405),
    ("PUT", "/v1/batches", 405),
    ("OPTIONS", "/v1/batches", 405),
    ("TRACE", "/v1/batches", 405),
    ("GET", "/v1/batches/", 404),
    ("GET", "//v1/batches", 404),
]


def check_refused(answer: Answer, *statuses: int) -> None:
    assert answer.status in (statuses or (400, 413, 415)), answer
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert answer.error["message"]


def create(service: Stack, key: str, body: bytes, kind: str = "application/json") -> Answer:
    headers = (f"Authorization: Bearer {key}", f"Content-Type: {kind}")
    return service.server.send(request("POST", "/v1/batches", *headers, body=body))


def ended(client: openai.OpenAI, content: bytes) -> openai.types.Batch:
    """Upload, create, and wait for the end."""
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    deadline = time.monotonic() + 60
    while batch.status not in ENDS:
        assert time.monotonic() < deadline, f"still {batch.status}"
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    return batch


@pytest.mark.parametrize("first", range(0, len(WRONG_LINES), MOST_ERRORS))
def test_every_wrong_line_of_a_file_is_reported(client: openai.OpenAI, first: int) -> None:
    rows = WRONG_LINES[first : first + MOST_ERRORS]
    content = request_line(0) + b"".join(line.rstrip(b"\n") + b"\n" for line, *_ in rows)

    batch = ended(client, content)

    assert batch.status == "failed"
    assert batch.errors is not None
    found = [(e.code, e.message, e.param, e.line) for e in batch.errors.data or []]
    expected = [(*row[1:], number) for number, row in enumerate(rows, 2)]
    assert found == expected


def test_a_good_file_with_odd_spaces_runs(client: openai.OpenAI) -> None:
    lines = request_lines(3).splitlines()

    batch = ended(client, b"\xef\xbb\xbf" + b"\r\n\n \n".join(lines))

    assert (batch.status, batch.request_counts.completed) == ("completed", 3)


def test_blank_lines_alone_are_an_empty_file(client: openai.OpenAI) -> None:
    batch = ended(client, b"\n \n\r\n")

    assert batch.errors is not None
    assert [error.code for error in batch.errors.data or []] == ["empty_file"]


@pytest.mark.parametrize("body", WRONG_BODIES)
def test_a_body_that_is_no_strict_object_is_refused(
    service: Stack, shared_key: str, body: bytes
) -> None:
    check_refused(create(service, shared_key, body))


@pytest.mark.parametrize(("field", "value"), WRONG_VALUES, ids=lambda value: str(value)[:30])
def test_a_wrong_value_is_refused(service: Stack, shared_key: str, field: str, value: Any) -> None:
    answer = create(service, shared_key, json.dumps(GOOD | {field: value}).encode())

    check_refused(answer, 400)
    assert str(answer.error["param"]).startswith(field)


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "application/xml", "?"])
def test_a_body_of_another_type_is_refused(service: Stack, shared_key: str, kind: str) -> None:
    check_refused(create(service, shared_key, b"{}", kind), 415)


def test_a_huge_body_is_refused(service: Stack, shared_key: str) -> None:
    check_refused(create(service, shared_key, b'{"a": "' + b"x" * 3_000_000 + b'"}'), 413)


@pytest.mark.parametrize(("method", "target", "status"), WRONG_TARGETS, ids=lambda v: str(v)[:40])
def test_a_wrong_target_is_refused(
    service: Stack, shared_key: str, method: str, target: str, status: int
) -> None:
    key = f"Authorization: Bearer {shared_key}"

    check_refused(service.server.send(request(method, target, key)), status)
