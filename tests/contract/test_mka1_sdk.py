"""Files and batches through the unmodified meetkai-mka1 SDK."""

import hashlib
from collections.abc import Callable, Iterator

import httpx
import pytest
from meetkai_mka1 import SDK, errors, models

from tests.contract.lines import CHAT, custom_ids, ids, request_line, request_lines, results
from tests.support.processes import wait_for
from tests.support.stack import Stack

CONTENT = request_lines(3)
ABSENT_BATCH = "batch_" + "0" * 32
ABSENT_FILE = "file-" + "0" * 32
TERMINAL = {"completed", "failed", "expired", "cancelled"}


@pytest.fixture
def connect(service: Stack) -> Iterator[Callable[[str], SDK]]:
    """Make SDKs with a key, closed at the end."""
    clients: list[httpx.Client] = []

    def make(key: str) -> SDK:
        clients.append(httpx.Client())
        return SDK(bearer_auth=key, server_url=service.url, client=clients[-1])

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def sdk(connect: Callable[[str], SDK], shared_key: str) -> SDK:
    return connect(shared_key)


def upload(sdk: SDK, content: bytes = CONTENT, user: str | None = None) -> models.File:
    file = models.UploadFileFile(file_name="in.jsonl", content=content)
    return sdk.llm.files.upload(file=file, purpose="batch", x_on_behalf_of=user)


def ended(sdk: SDK, batch_id: str, user: str | None = None) -> models.BatchObject:
    """Poll until the batch has ended."""

    def poll() -> models.BatchObject | None:
        found = sdk.llm.batches.get(batch_id=batch_id, x_on_behalf_of=user)
        return found if found.status in TERMINAL else None

    return wait_for(poll, f"the end of {batch_id}", 60)


def content_of(sdk: SDK, file_id: str | None, user: str | None = None) -> bytes:
    assert file_id
    answer = sdk.llm.files.content(file_id=file_id, x_on_behalf_of=user)
    assert isinstance(answer, httpx.Response)
    return answer.read()


def test_a_file_from_upload_to_deletion(sdk: SDK) -> None:
    file = upload(sdk)
    assert (file.filename, file.bytes_, file.purpose) == ("in.jsonl", len(CONTENT), "batch")
    assert file.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert sdk.llm.files.get(file_id=file.id) == file
    assert content_of(sdk, file.id) == CONTENT
    deleted = sdk.llm.files.delete(file_id=file.id)
    assert (deleted.id, deleted.deleted) == (file.id, True)
    with pytest.raises(errors.SDKDefaultError, match="No such File object"):
        sdk.llm.files.get(file_id=file.id)


def test_files_are_listed_in_pages(connect: Callable[[str], SDK], own_key: str) -> None:
    sdk = connect(own_key)
    assert sdk.llm.files.list().data == []
    made = [upload(sdk, request_line(number)).id for number in range(3)]
    first = sdk.llm.files.list(limit=2)
    assert [file.id for file in first.data] == made[:0:-1]
    assert (first.first_id, first.last_id, first.has_more) == (made[2], made[1], True)
    second = sdk.llm.files.list(limit=2, after=first.last_id)
    assert ([file.id for file in second.data], second.has_more) == (made[:1], False)
    ascending = sdk.llm.files.list(order="asc", purpose="batch")
    assert [file.id for file in ascending.data] == made
    assert sdk.llm.files.list(purpose="vision").data == []


def test_a_file_is_found_by_its_content(connect: Callable[[str], SDK], own_key: str) -> None:
    sdk = connect(own_key)
    wanted, _ = upload(sdk, request_line(0)), upload(sdk, request_line(1))
    found = sdk.llm.files.list(sha256=wanted.sha256)
    assert [file.id for file in found.data] == [wanted.id]
    assert sdk.llm.files.list(sha256="0" * 64).data == []
    with pytest.raises(errors.SDKDefaultError, match="Invalid 'sha256'"):
        sdk.llm.files.list(sha256="abc")


def test_a_batch_from_upload_to_results(service: Stack, sdk: SDK) -> None:
    batch = sdk.llm.batches.create(
        input_file_id=upload(sdk).id,
        endpoint=CHAT,
        metadata={"project": "contract"},
        max_concurrency=7,
    )
    assert (batch.status, batch.max_concurrency) == ("validating", 7)
    assert batch.metadata == {"project": "contract"}
    assert batch.request_counts.total == 0
    batch = ended(sdk, batch.id)
    assert (batch.status, batch.errors, batch.error_file_id) == ("completed", None, None)
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (3, 3, 0)
    lines = results(content_of(sdk, batch.output_file_id))
    assert list(custom_ids(lines)) == ids(3)
    service.verify(batch.id)


def test_a_bad_file_fails_the_batch_and_says_where(sdk: SDK) -> None:
    file = upload(sdk, request_line(0) + b"not json\n")
    batch = ended(sdk, sdk.llm.batches.create(input_file_id=file.id, endpoint=CHAT).id)
    assert batch.status == "failed"
    assert batch.errors
    (error,) = batch.errors.data
    assert (error.code, error.line, error.param) == ("invalid_json_line", 2, None)
    assert error.message == "This line is not parseable as valid JSON."


def test_a_batch_can_be_cancelled(service: Stack, sdk: SDK) -> None:
    service.upstream.set(latency=60)
    batch = sdk.llm.batches.create(input_file_id=upload(sdk).id, endpoint=CHAT)
    assert sdk.llm.batches.cancel(batch_id=batch.id).status in ("cancelling", "cancelled")
    assert ended(sdk, batch.id).status == "cancelled"
    assert sdk.llm.batches.cancel(batch_id=batch.id).status == "cancelled"


def test_batches_are_listed_in_pages(connect: Callable[[str], SDK], own_key: str) -> None:
    sdk = connect(own_key)
    empty = sdk.llm.batches.list()
    assert (empty.data, empty.has_more) == ([], False)
    file = upload(sdk)
    made = [sdk.llm.batches.create(input_file_id=file.id, endpoint=CHAT).id for _ in range(3)]
    first = sdk.llm.batches.list(limit=2)
    assert [batch.id for batch in first.data] == made[:0:-1]
    second = sdk.llm.batches.list(limit=2, after=first.last_id)
    assert ([batch.id for batch in second.data], second.has_more) == (made[:1], False)


def test_a_user_of_the_caller_owns_the_batch_and_its_results(
    connect: Callable[[str], SDK], own_key: str
) -> None:
    sdk = connect(own_key)
    file = upload(sdk, user="alice")
    batch = sdk.llm.batches.create(input_file_id=file.id, endpoint=CHAT, x_on_behalf_of="alice")
    batch = ended(sdk, batch.id, "alice")
    assert batch.status == "completed"
    assert results(content_of(sdk, batch.output_file_id, "alice"))
    for user in ("bob", None):
        assert sdk.llm.batches.list(x_on_behalf_of=user).data == []
        assert sdk.llm.files.list(x_on_behalf_of=user).data == []
        with pytest.raises(errors.SDKDefaultError, match="No batch found"):
            sdk.llm.batches.get(batch_id=batch.id, x_on_behalf_of=user)
        with pytest.raises(errors.GetFileContentNotFoundError):
            content_of(sdk, batch.output_file_id, user)


async def test_the_asynchronous_methods_work_as_well(
    service: Stack, sdk: SDK, shared_key: str
) -> None:
    file = upload(sdk)
    async with httpx.AsyncClient() as client:
        patient = SDK(bearer_auth=shared_key, server_url=service.url, async_client=client)
        assert await patient.llm.files.get_async(file_id=file.id) == file
        answer = await patient.llm.files.content_async(file_id=file.id)
        assert isinstance(answer, httpx.Response)
        assert await answer.aread() == CONTENT


# Errors


def test_an_unknown_batch(sdk: SDK) -> None:
    for call in (sdk.llm.batches.get, sdk.llm.batches.cancel):
        with pytest.raises(errors.SDKDefaultError) as caught:
            call(batch_id=ABSENT_BATCH)
        assert caught.value.status_code == 404
        assert caught.value.headers["x-request-id"].startswith("req_")
        assert f"No batch found with id '{ABSENT_BATCH}'." in caught.value.body


def test_an_unknown_files_content(sdk: SDK) -> None:
    with pytest.raises(errors.GetFileContentNotFoundError) as caught:
        sdk.llm.files.content(file_id=ABSENT_FILE)
    assert caught.value.message == f"No such File object: {ABSENT_FILE}"


def test_content_that_cannot_be_downloaded(sdk: SDK) -> None:
    note = models.UploadFileFile(file_name="notes.txt", content=b"a note")
    file = sdk.llm.files.upload(file=note, purpose="user_data")
    with pytest.raises(errors.GetFileContentBadRequestError, match="user_data"):
        sdk.llm.files.content(file_id=file.id)


def test_a_wrong_key(connect: Callable[[str], SDK]) -> None:
    sdk = connect("lsk_wrong")
    with pytest.raises(errors.SDKDefaultError, match="Incorrect API key provided") as caught:
        sdk.llm.batches.list()
    assert caught.value.status_code == 401
    # This one method expects numbers where OpenAI's clients expect names: `code` cannot suit both.
    with pytest.raises(errors.SDKError) as caught_elsewhere:
        sdk.llm.files.content(file_id=ABSENT_FILE)
    assert caught_elsewhere.value.status_code == 401
    assert "invalid_api_key" in caught_elsewhere.value.body
