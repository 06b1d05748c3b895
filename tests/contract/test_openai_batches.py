"""Batches through the unmodified openai SDK, against a real web server, worker and upstream."""

import math
from collections.abc import Callable

import openai
import pytest
from openai.types import Batch

from tests.contract.lines import (
    CHAT,
    EMBEDDINGS,
    IMAGES,
    custom_ids,
    ids,
    refused_line,
    request_line,
    request_lines,
    results,
)
from tests.support.processes import wait_for
from tests.support.stack import Stack

Connect = Callable[..., openai.OpenAI]
TERMINAL = {"completed", "failed", "expired", "cancelled"}


def submit(client: openai.OpenAI, content: bytes, endpoint: str = CHAT, **options: object) -> Batch:
    """Upload and create; `extra_headers` are sent with both."""
    headers = options.get("extra_headers")
    file = client.files.create(file=("in.jsonl", content), purpose="batch", extra_headers=headers)
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", **options
    )


def ended(client: openai.OpenAI, batch: Batch, **options: object) -> Batch:
    """Poll until the batch has ended."""

    def poll() -> Batch | None:
        found = client.batches.retrieve(batch.id, **options)
        return found if found.status in TERMINAL else None

    return wait_for(poll, f"the end of {batch.id}", 60)


@pytest.mark.parametrize("prefix", ["/api/v1/llm", "/v1"])
def test_a_batch_from_upload_to_results(service: Stack, connect: Connect, prefix: str) -> None:
    client = connect(prefix=prefix)
    asked = 120  # of three shards
    batch = submit(
        client,
        request_lines(asked),
        metadata={"project": "contract"},
        output_expires_after={"anchor": "created_at", "seconds": 3600},
        extra_body={"max_concurrency": 7},
    )
    assert (batch.object, batch.status, batch.model) == ("batch", "validating", None)
    assert batch.expires_at == batch.created_at + 86400
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 0, "completed": 0, "failed": 0}
    assert batch.metadata == {"project": "contract"}
    assert batch.to_dict()["max_concurrency"] == 7

    batch = ended(client, batch)
    assert (batch.status, batch.model, batch.errors) == ("completed", "simulated", None)
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": asked, "completed": asked, "failed": 0}
    assert batch.error_file_id is None
    assert batch.output_file_id is not None
    lines = results(client.files.content(batch.output_file_id).content)
    assert list(custom_ids(lines)) == ids(asked)
    for number, line in enumerate(lines):
        answer = line["response"]["body"]["choices"][0]["message"]["content"]
        assert answer.startswith(f'Simulated answer to "question {number}":')
    assert_usage_adds_up(batch, lines)
    output = client.files.retrieve(batch.output_file_id)
    assert (output.purpose, output.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    assert output.expires_at == output.created_at + 3600
    service.verify(batch.id)


def assert_usage_adds_up(batch: Batch, lines: list[dict[str, dict[str, object]]]) -> None:
    used = [line["response"]["body"]["usage"] for line in lines]  # type: ignore[index]
    assert batch.usage is not None
    assert batch.usage.input_tokens == sum(one["prompt_tokens"] for one in used)
    assert batch.usage.output_tokens == sum(one["completion_tokens"] for one in used)
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens > 0


@pytest.mark.parametrize("endpoint", [EMBEDDINGS, IMAGES])
def test_other_endpoints_answer_in_their_own_shape(client: openai.OpenAI, endpoint: str) -> None:
    batch = ended(client, submit(client, request_lines(4, endpoint), endpoint))
    assert batch.status == "completed"
    assert batch.output_file_id is not None
    lines = results(client.files.content(batch.output_file_id).content)
    assert list(custom_ids(lines)) == ids(4)
    for line in lines:
        (item,) = line["response"]["body"]["data"]
        if endpoint == EMBEDDINGS:
            assert math.isclose(math.hypot(*item["embedding"]), 1)
        else:
            assert item["b64_json"]


def test_lines_the_upstream_refuses_are_in_the_error_file(client: openai.OpenAI) -> None:
    content = request_line(0) + refused_line(1) + request_line(2)
    batch = ended(client, submit(client, content))
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 3, "completed": 2, "failed": 1}
    assert batch.output_file_id is not None
    assert batch.error_file_id is not None
    good = results(client.files.content(batch.output_file_id).content)
    assert list(custom_ids(good)) == ["line-0", "line-2"]
    (bad,) = results(client.files.content(batch.error_file_id).content)
    assert bad["custom_id"] == "line-1"
    assert bad["error"] is None
    assert bad["response"]["status_code"] == 400
    assert bad["response"]["body"]["error"]["param"] == "messages"


def test_a_batch_without_a_good_line_has_no_output_file(client: openai.OpenAI) -> None:
    batch = ended(client, submit(client, refused_line(0) + refused_line(1)))
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert batch.error_file_id is not None
    assert len(results(client.files.content(batch.error_file_id).content)) == 2


def test_a_bad_file_fails_the_batch_and_says_where(client: openai.OpenAI) -> None:
    content = request_line(0) + b"not json\n" + request_line(2, stream=True) + request_line(0)
    batch = ended(client, submit(client, content))
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert (batch.output_file_id, batch.error_file_id) == (None, None)
    assert batch.errors is not None
    assert batch.errors.object == "list"
    assert batch.errors.data is not None
    assert [(error.line, error.code, error.param) for error in batch.errors.data] == [
        (2, "invalid_json_line", None),
        (3, "streaming_unsupported", "body.stream"),
        (4, "duplicate_custom_id", "custom_id"),
    ]
    assert all(error.message for error in batch.errors.data)


def test_a_file_that_never_was_fails_the_batch(client: openai.OpenAI) -> None:
    batch = client.batches.create(
        input_file_id="file-unknown", endpoint=CHAT, completion_window="24h"
    )
    assert (batch.status, batch.input_file_id) == ("validating", "file-unknown")
    batch = ended(client, batch)
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    (error,) = batch.errors.data
    assert (error.code, error.param, error.line) == ("invalid_request", "file_id", None)
    assert error.message is not None
    assert error.message.startswith("Cannot find file file-unknown, or organization ")


def test_cancelling_keeps_what_is_done_and_accounts_for_the_rest(
    service: Stack, client: openai.OpenAI
) -> None:
    service.upstream.set(latency=0.2, capacity=2, queue=1000)  # half a minute, if left alone
    batch = submit(client, request_lines(300))

    def some_done() -> bool:
        counts = client.batches.retrieve(batch.id).request_counts
        return counts is not None and counts.completed > 0

    wait_for(some_done, "the first results")
    cancelling = client.batches.cancel(batch.id)
    assert cancelling.status in ("cancelling", "cancelled")
    assert cancelling.cancelling_at is not None
    batch = ended(client, batch)
    assert batch.status == "cancelled"
    assert batch.output_file_id is not None
    assert batch.error_file_id is not None
    done = results(client.files.content(batch.output_file_id).content)
    rest = results(client.files.content(batch.error_file_id).content)
    assert sorted([*custom_ids(done), *custom_ids(rest)]) == sorted(ids(300))
    assert {line["error"]["code"] for line in rest} == {"batch_cancelled"}
    assert client.batches.cancel(batch.id) == batch  # twice is once
    service.verify(batch.id)


def test_no_more_calls_at_once_than_the_caller_asked_for(
    service: Stack, client: openai.OpenAI
) -> None:
    service.upstream.set(latency=0.05)
    options = {"extra_body": {"max_concurrency": 3}}
    batch = ended(client, submit(client, request_lines(120), **options))
    assert batch.status == "completed"
    assert service.upstream.most_at_once(batch.id) == 3


def test_pages_are_followed_to_the_end(connect: Connect, own_key: str) -> None:
    client = connect(own_key)
    file = client.files.create(file=("in.jsonl", request_lines(1)), purpose="batch")
    made = [
        client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h").id
        for _ in range(5)
    ]
    first = client.batches.list(limit=2)
    assert first.has_more
    assert [batch.id for batch in first.data] == made[:2:-1]
    assert [batch.id for batch in client.batches.list(limit=2)] == made[::-1]


def test_a_user_of_the_caller_owns_the_batch_and_its_results(
    connect: Connect, own_key: str
) -> None:
    client = connect(own_key)
    alice = {"X-On-Behalf-Of": "alice"}
    batch = submit(client, request_lines(2), extra_headers=alice)
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve(batch.id)
    batch = ended(client, batch, extra_headers=alice)
    assert batch.status == "completed"
    assert batch.output_file_id is not None
    with pytest.raises(openai.NotFoundError):
        client.files.content(batch.output_file_id)
    names = {file.filename for file in client.files.list(extra_headers=alice)}
    assert names == {"in.jsonl", f"{batch.id}_output.jsonl"}
    assert list(client.files.list()) == list(client.batches.list()) == []


async def test_the_asynchronous_client_works_as_well(client: openai.OpenAI) -> None:
    batch = ended(client, submit(client, request_lines(2)))
    async with openai.AsyncOpenAI(base_url=client.base_url, api_key=client.api_key) as patient:
        assert await patient.batches.retrieve(batch.id) == batch
        found = [one.id async for one in patient.batches.list(limit=1)]
        assert batch.id in found
        assert batch.output_file_id is not None
        content = await patient.files.content(batch.output_file_id)
        assert list(custom_ids(results(content.content))) == ids(2)
