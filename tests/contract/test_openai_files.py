"""Files through the unmodified openai SDK, against a real web server."""

import io
from collections.abc import Callable
from pathlib import Path

import httpx2
import openai
import pytest
from openai.types import FileObject

from tests.contract.lines import request_lines

CONTENT = request_lines(3).replace(b"\n", b"\r\n")  # whatever the bytes are, they come back
MONTH = 30 * 86400
Connect = Callable[..., openai.OpenAI]


def upload(client: openai.OpenAI, name: str = "in.jsonl", **options: object) -> FileObject:
    return client.files.create(file=(name, CONTENT), purpose="batch", **options)


@pytest.mark.parametrize("prefix", ["/api/v1/llm", "/v1"])
def test_an_upload_comes_back_byte_for_byte(connect: Connect, prefix: str) -> None:
    client = connect(prefix=prefix)
    file = upload(client)
    assert file.id.startswith("file-")
    assert (file.object, file.bytes, file.filename) == ("file", len(CONTENT), "in.jsonl")
    assert (file.purpose, file.status, file.status_details) == ("batch", "processed", None)
    assert file.expires_at == file.created_at + MONTH
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).content == CONTENT


def test_a_path_and_an_open_file_can_be_uploaded(client: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(CONTENT)
    for source in (path, io.BytesIO(CONTENT)):
        file = client.files.create(
            file=source if isinstance(source, Path) else ("prompts.jsonl", source), purpose="batch"
        )
        assert (file.filename, file.bytes) == ("prompts.jsonl", len(CONTENT))


def test_content_can_be_streamed_to_disk(client: openai.OpenAI, tmp_path: Path) -> None:
    file = upload(client)
    with client.files.with_streaming_response.content(file.id) as answer:
        assert answer.headers["content-type"] == "application/jsonl"
        assert b"".join(answer.iter_bytes(7)) == CONTENT
    client.files.content(file.id).write_to_file(tmp_path / "copy.jsonl")
    assert (tmp_path / "copy.jsonl").read_bytes() == CONTENT


def test_an_upload_goes_when_its_caller_said(client: openai.OpenAI) -> None:
    file = upload(client, expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == file.created_at + 3600


def test_a_file_is_processed_at_once(client: openai.OpenAI) -> None:
    file = upload(client)
    # Its first look must suffice: the next would come after the time it may take.
    ready = client.files.wait_for_processing(file.id, poll_interval=600, max_wait_seconds=1)
    assert ready.status == "processed"


def test_pages_are_followed_to_the_end(connect: Connect, own_key: str) -> None:
    asked: list[httpx2.Request] = []
    http = openai.DefaultHttpxClient(event_hooks={"request": [asked.append]})
    client = connect(own_key, http_client=http)
    made = [upload(client, f"{number}.jsonl").id for number in range(5)]
    asked.clear()
    assert [file.id for file in client.files.list(limit=2)] == made[::-1]
    assert len(asked) == 3
    assert [file.id for file in client.files.list(limit=2, order="asc")] == made


def test_lists_can_be_narrowed_to_a_purpose(connect: Connect, own_key: str) -> None:
    client = connect(own_key)
    upload(client)
    notes = client.files.create(file=("notes.txt", b"a note"), purpose="user_data")
    assert [file.id for file in client.files.list(purpose="user_data")] == [notes.id]
    assert len(list(client.files.list())) == 2


def test_a_deleted_file_is_gone(client: openai.OpenAI) -> None:
    file = upload(client)
    deleted = client.files.delete(file.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (file.id, "file", True)
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            call(file.id)


async def test_the_asynchronous_client_works_as_well(client: openai.OpenAI) -> None:
    async with openai.AsyncOpenAI(base_url=client.base_url, api_key=client.api_key) as patient:
        file = await patient.files.create(file=("in.jsonl", CONTENT), purpose="batch")
        assert (await patient.files.content(file.id)).content == CONTENT
        assert (await patient.files.delete(file.id)).deleted


def test_each_user_of_a_key_has_files_of_their_own(connect: Connect, own_key: str) -> None:
    client = connect(own_key)
    alice, bob = ({"X-On-Behalf-Of": name} for name in ("alice", "bob"))
    file = upload(client, extra_headers=alice)
    assert client.files.retrieve(file.id, extra_headers=alice) == file
    for stranger in (bob, {}):
        assert list(client.files.list(extra_headers=stranger)) == []
        with pytest.raises(openai.NotFoundError):
            client.files.content(file.id, extra_headers=stranger)
