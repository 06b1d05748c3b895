"""What the openai SDK raises for each refusal, and what an application can read from it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
import pytest

from tests.contract.lines import CHAT, request_lines
from tests.support.processes import wait_for
from tests.support.stack import Stack

Connect = Callable[..., openai.OpenAI]
ABSENT_BATCH = "batch_" + "0" * 32
ABSENT_FILE = "file-" + "0" * 32
CREATE: dict[str, Any] = {
    "input_file_id": ABSENT_FILE,
    "endpoint": CHAT,
    "completion_window": "24h",
}


@contextmanager
def refused(
    kind: type[openai.APIStatusError],
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
) -> Iterator[pytest.ExceptionInfo[openai.APIStatusError]]:
    """Expect exactly this refusal, whose message begins with `message`, and all the SDK makes of it."""
    with pytest.raises(openai.APIStatusError) as caught:
        yield caught
    error = caught.value
    assert type(error) is kind
    assert error.status_code == status
    assert (error.code, error.param) == (code, param)
    assert isinstance(error.body, dict)
    assert list(error.body) == ["message", "type", "param", "code"]
    assert error.body["message"].startswith(message)
    assert error.request_id is not None
    assert error.request_id.startswith("req_")


def test_a_wrong_key(connect: Connect) -> None:
    client = connect("lsk_wrong")
    with refused(
        openai.AuthenticationError, 401, "Incorrect API key provided:", code="invalid_api_key"
    ):
        client.files.list()


def test_no_key(client: openai.OpenAI) -> None:
    anonymous = {"Authorization": openai.Omit()}
    with refused(openai.AuthenticationError, 401, "You didn't provide an API key."):
        client.batches.list(extra_headers=anonymous)


def test_a_key_that_may_only_read(service: Stack, connect: Connect) -> None:
    client = connect(service.key("reader", "--scopes", "files:read,batches:read"))
    assert client.batches.list().data == []
    with refused(
        openai.PermissionDeniedError,
        403,
        "This API key lacks the scope 'batches:write'.",
        code="missing_scope",
    ):
        client.batches.create(**CREATE)


def test_a_key_that_may_not_act_for_others(service: Stack, connect: Connect) -> None:
    client = connect(service.key("alone"))
    with refused(
        openai.PermissionDeniedError,
        403,
        "This API key may not send X-On-Behalf-Of.",
        code="on_behalf_of_forbidden",
    ):
        client.files.list(extra_headers={"X-On-Behalf-Of": "alice"})


@pytest.mark.parametrize(
    ("changes", "message", "code", "param"),
    [
        ({"endpoint": "/v1/x"}, "Invalid value: '/v1/x'.", "invalid_value", "endpoint"),
        (
            {"completion_window": "1h"},
            "Invalid value: '1h'. Supported values are: '24h'.",
            "invalid_value",
            "completion_window",
        ),
        (
            {"endpoint": openai.Omit()},
            "Missing required parameter: 'endpoint'.",
            "missing_required_parameter",
            "endpoint",
        ),
        (
            {"metadata": {"tags": ["a"]}},
            "Invalid type for 'metadata.tags': expected a string, but got an array instead.",
            "invalid_type",
            "metadata.tags",
        ),
        (
            {"metadata": {str(number): "" for number in range(17)}},
            "Invalid 'metadata': too many properties. Expected an object with at most 16",
            "object_above_max_properties",
            "metadata",
        ),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 60}},
            "Invalid 'output_expires_after.seconds': integer below minimum value.",
            "integer_below_min_value",
            "output_expires_after.seconds",
        ),
    ],
)
def test_a_batch_that_cannot_be(
    client: openai.OpenAI, changes: dict[str, Any], message: str, code: str, param: str
) -> None:
    with refused(openai.BadRequestError, 400, message, code=code, param=param):
        client.batches.create(**CREATE | changes)


def test_a_page_that_cannot_be(client: openai.OpenAI) -> None:
    above = "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101"
    with refused(openai.BadRequestError, 400, above, code="integer_above_max_value", param="limit"):
        client.batches.list(limit=101)
    with refused(openai.NotFoundError, 404, "No batch found with id", param="after"):
        client.batches.list(after=ABSENT_BATCH)
    with refused(openai.NotFoundError, 404, "No such File object", param="after"):
        client.files.list(after=ABSENT_FILE)


def test_what_is_not_there(client: openai.OpenAI) -> None:
    for batch_call in (client.batches.retrieve, client.batches.cancel):
        with refused(openai.NotFoundError, 404, f"No batch found with id '{ABSENT_BATCH}'."):
            batch_call(ABSENT_BATCH)
        with refused(
            openai.BadRequestError,
            400,
            "Invalid 'batch_id': 'x'. Expected an ID that begins with 'batch'.",
            code="invalid_value",
            param="batch_id",
        ):
            batch_call("x")
    for file_call in (client.files.retrieve, client.files.delete, client.files.content):
        with refused(openai.NotFoundError, 404, f"No such File object: {ABSENT_FILE}", param="id"):
            file_call(ABSENT_FILE)


def test_a_path_that_is_not_there(client: openai.OpenAI) -> None:
    with refused(
        openai.NotFoundError, 404, "Unknown request URL: GET /v1/models.", code="unknown_url"
    ):
        client.models.list()


@pytest.mark.parametrize(
    ("name", "content"), [("in.txt", request_lines(1)), ("in.jsonl", b""), ("in.jsonl", b"{\n")]
)
def test_an_upload_that_no_batch_could_run(
    client: openai.OpenAI, name: str, content: bytes
) -> None:
    message = "Invalid file format for Batch API. Must be .jsonl"
    with refused(openai.BadRequestError, 400, message):
        client.files.create(file=(name, content), purpose="batch")


def test_an_upload_for_no_purpose(client: openai.OpenAI) -> None:
    with refused(
        openai.BadRequestError, 400, "Invalid value: 'x'.", code="invalid_value", param="purpose"
    ):
        client.files.create(file=("in.jsonl", b"{}"), purpose="x")  # type: ignore[arg-type]


def test_an_upload_that_is_too_large(client: openai.OpenAI) -> None:
    with refused(
        openai.APIStatusError, 413, "The file is too large.", code="file_too_large", param="file"
    ):
        client.files.create(file=("in.jsonl", b" " * 2_000_001), purpose="batch")


def test_content_that_cannot_be_downloaded(client: openai.OpenAI) -> None:
    file = client.files.create(file=("notes.txt", b"a note"), purpose="user_data")
    message = "Not allowed to download files of purpose: user_data"
    with refused(openai.BadRequestError, 400, message):
        client.files.content(file.id)


def test_a_conflict_is_sent_once(service: Stack, connect: Connect) -> None:
    asked: list[httpx2.Request] = []
    client = connect(http_client=openai.DefaultHttpxClient(event_hooks={"request": [asked.append]}))
    service.upstream.set(latency=60)
    file = client.files.create(file=("in.jsonl", request_lines(1)), purpose="batch")
    batch = client.batches.create(**CREATE | {"input_file_id": file.id})
    asked.clear()
    with refused(
        openai.ConflictError, 409, f"File {file.id} is the input of a batch", code="file_in_use"
    ):
        client.files.delete(file.id)
    assert len(asked) == 1
    client.batches.cancel(batch.id)
    wait_for(lambda: client.batches.retrieve(batch.id).status == "cancelled", "the cancelled batch")
    assert client.files.delete(file.id).deleted


def test_a_batch_that_has_failed_cannot_be_cancelled(connect: Connect) -> None:
    asked: list[httpx2.Request] = []
    client = connect(http_client=openai.DefaultHttpxClient(event_hooks={"request": [asked.append]}))
    batch = client.batches.create(**CREATE)
    wait_for(lambda: client.batches.retrieve(batch.id).status == "failed", "the failed batch")
    asked.clear()
    message = "Cannot cancel a batch with status 'failed'."
    with refused(openai.ConflictError, 409, message):
        client.batches.cancel(batch.id)
    assert len(asked) == 1


def test_a_storage_that_takes_nothing(service: Stack, connect: Connect) -> None:
    client = connect(max_retries=0)
    with (
        service.broken_storage(),
        refused(
            openai.InternalServerError,
            503,
            "The storage cannot take the file now.",
            code="storage_unavailable",
        ) as caught,
    ):
        client.files.create(file=("in.jsonl", request_lines(1)), purpose="batch")
    # The SDK waits this long, and gives up above two minutes.
    assert 0 < int(caught.value.response.headers["retry-after"]) <= 120
    assert client.files.create(file=("in.jsonl", request_lines(1)), purpose="batch").bytes
