import errno
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from api.errors import NotFound
from files import upload as module
from files.content import blocks
from files.models import Blob, File
from files.storage import LocalWriter
from tests.factories import FILES, LINE, error_of, upload

NOT_JSONL = "Invalid file format for Batch API. Must be .jsonl"


def objects(storage_dir: Path) -> list[Path]:
    return [path for path in storage_dir.rglob("*") if path.is_file()]


def test_an_upload_answers_with_the_file_object(api: Client) -> None:
    response = upload(api, LINE, name="in.jsonl")

    body = response.json()
    assert response.status_code == 200
    assert body.pop("id").startswith("file-")
    assert body.pop("expires_at") - body.pop("created_at") == settings.FILE_EXPIRES_SECONDS
    assert body == {
        "object": "file",
        "bytes": len(LINE),
        "filename": "in.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
        "sha256": hashlib.sha256(LINE).hexdigest(),
    }


def test_the_bytes_are_kept_as_they_came(api: Client) -> None:
    content = LINE + bytes(range(256)) * 4096 + b"\r\n--\r\n"

    file_id = upload(api, content).json()["id"]

    assert b"".join(blocks(File.objects.get(pk=file_id))) == content


def test_both_prefixes_answer_the_same(api: Client) -> None:
    file_id = upload(api).json()["id"]

    one, other = (api.get(f"{prefix}/files/{file_id}") for prefix in ("/v1", "/api/v1/llm"))

    assert one.json() == other.json()


def test_only_batch_files_expire_by_themselves(api: Client) -> None:
    assert upload(api, purpose="user_data", name="x.txt").json()["expires_at"] is None


def test_expires_after_is_obeyed(api: Client) -> None:
    fields = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}

    body = upload(api, **fields).json()

    assert body["expires_at"] == body["created_at"] + 3600


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"purpose": None}, "purpose", "missing_required_parameter"),
        ({"purpose": ""}, "purpose", "invalid_value"),
        ({"purpose": "Batch"}, "purpose", "invalid_value"),
        ({"purpose": "batch\0"}, "purpose", "invalid_value"),
        ({"purpose": "batch_output"}, "purpose", "invalid_value"),
        ({"purpose": ["batch", "batch"]}, "purpose", "duplicate_field"),
        ({"file": None}, "file", "missing_required_parameter"),
        ({"file": "a field without a filename"}, "file", "missing_required_parameter"),
        ({"expires_after[anchor]": "now"}, "expires_after.anchor", "invalid_value"),
        ({"expires_after[seconds]": "0"}, "expires_after.seconds", "integer_below_min_value"),
        ({"expires_after[seconds]": "-1"}, "expires_after.seconds", "integer_below_min_value"),
        ({"expires_after[seconds]": "3599"}, "expires_after.seconds", "integer_below_min_value"),
        ({"expires_after[seconds]": "2592001"}, "expires_after.seconds", "integer_above_max_value"),
        ({"expires_after[seconds]": "abc"}, "expires_after.seconds", "invalid_type"),
        ({"expires_after[seconds]": "٣٦٠٠"}, "expires_after.seconds", "invalid_type"),
        ({"expires_after[seconds]": "9" * 4000}, "expires_after.seconds", "invalid_type"),
    ],
)
def test_a_wrong_field_is_named(
    fields: dict[str, Any], param: str, code: str, api: Client, storage_dir: Path
) -> None:
    if any(name.startswith("expires_after") for name in fields):
        fields = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"} | fields
    if "file" in fields:
        form = {"purpose": "batch", "file": fields["file"] or ""}
        response = api.post(FILES, {name: value for name, value in form.items() if value})
    else:
        response = upload(api, **fields)

    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)
    assert objects(storage_dir) == []
    assert not Blob.objects.exists()


@pytest.mark.parametrize("missing", ["anchor", "seconds"])
def test_half_an_expires_after_is_refused(missing: str, api: Client) -> None:
    fields = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    del fields[f"expires_after[{missing}]"]

    error = error_of(upload(api, **fields))

    assert error["code"] == "missing_required_parameter"
    assert error["param"] == f"expires_after.{missing}"


def test_fields_the_service_does_not_know_are_ignored(api: Client) -> None:
    assert upload(api, name="x.jsonl", **{"something[else]": "1"}).status_code == 200


def test_too_many_fields_are_refused(api: Client) -> None:
    response = upload(api, **{f"f{number}": "1" for number in range(150)})

    assert (response.status_code, error_of(response)["code"]) == (400, "too_many_fields")


def test_a_huge_field_is_refused(api: Client) -> None:
    response = upload(api, purpose="x" * 3_000_000)

    assert (response.status_code, error_of(response)["param"]) == (413, "purpose")


def test_two_files_are_refused(api: Client) -> None:
    files = [io.BytesIO(LINE), io.BytesIO(LINE)]
    for file in files:
        file.name = "in.jsonl"  # type: ignore[attr-defined]

    response = api.post(FILES, {"purpose": "batch", "file": files})

    assert (response.status_code, error_of(response)["code"]) == (400, "too_many_files")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (LINE, "in.json"),
        (LINE, "jsonl"),
        (b"", "in.jsonl"),
        (b"not json\n" + LINE, "in.jsonl"),
        (b"[\n{}\n]\n", "in.jsonl"),
        (b'{"a": 1} {"b": 2}\n', "in.jsonl"),
        (b"%PDF-1.7\n", "in.jsonl"),
        (b"PK\x03\x04", "in.jsonl"),
        ('{"a": 1}\n'.encode("utf-16"), "in.jsonl"),
        (b"\x1f\x8b\x08\x00", "in.jsonl"),
        (b"[" * 60_000 + b"\n", "in.jsonl"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_not_jsonl_is_refused_for_batches(content: bytes, name: str, api: Client) -> None:
    response = upload(api, content, name=name)

    assert (response.status_code, error_of(response)["message"]) == (400, NOT_JSONL)


@pytest.mark.parametrize(
    "content",
    [
        LINE.rstrip(),
        b"\xef\xbb\xbf" + LINE,
        LINE + b"not json\n",
        b"\n" + LINE,
        b'{"long": "' + b"x" * 100_000 + b'"}\n',
    ],
    ids=["no newline", "byte order mark", "later line bad", "first line blank", "long line"],
)
def test_what_validation_has_to_judge_is_taken(content: bytes, api: Client) -> None:
    assert upload(api, content).status_code == 200


def test_an_empty_file_of_another_purpose_is_refused(api: Client) -> None:
    assert error_of(upload(api, b"", "a.txt", purpose="user_data"))["code"] == "empty_file"


@pytest.mark.parametrize("order", ["purpose first", "purpose last"])
def test_a_file_at_the_limit_is_taken_and_one_byte_more_is_refused(
    order: str, api: Client, monkeypatch: pytest.MonkeyPatch, storage_dir: Path
) -> None:
    monkeypatch.setattr(settings, "BATCH_FILE_MAX_BYTES", len(LINE))
    monkeypatch.setattr(settings, "FILE_MAX_BYTES", 10 * len(LINE))

    def send(content: bytes) -> Any:
        file = io.BytesIO(content)
        file.name = "in.jsonl"  # type: ignore[attr-defined]
        form = {"purpose": "batch", "file": file}
        return api.post(
            FILES, form if order == "purpose first" else dict(reversed(list(form.items())))
        )

    assert send(LINE).status_code == 200
    response = send(LINE + b"\n")
    assert (response.status_code, error_of(response)["code"]) == (413, "file_too_large")
    assert len(objects(storage_dir)) == 1


def test_no_byte_above_the_limit_is_written(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BATCH_FILE_MAX_BYTES", 1000)
    written = []
    monkeypatch.setattr(LocalWriter, "write", lambda self, data: written.append(len(data)))

    response = upload(api, b"x" * 900_000)

    assert response.status_code == 413
    assert sum(written) <= 1000


def test_an_upload_is_refused_by_its_length_before_a_byte_is_read(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "read_parts", lambda *_: pytest.fail("the body was read"))

    response = api.post(FILES, {"purpose": "batch"}, headers={"Content-Length": str(10 * 2**30)})

    assert response.status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Encoding": "gzip"}, 415),
        ({"Transfer-Encoding": "chunked", "Content-Length": ""}, 411),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    headers: dict[str, str], status: int, api: Client
) -> None:
    response = upload(api, headers=headers)

    assert response.status_code == status
    error_of(response)


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain", "multipart/mixed"])
def test_another_content_type_is_refused(content_type: str, api: Client) -> None:
    response = api.post(FILES, b"{}", content_type=content_type)

    assert (response.status_code, error_of(response)["code"]) == (415, "unsupported_type")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\x.jsonl", "x.jsonl"),
        ("a\r\nb\0c\u202ed\x7f.jsonl", "abcd.jsonl"),
        ('q";x=.jsonl', 'q";x=.jsonl'),
        ("🙂.jsonl", "🙂.jsonl"),
        ("a" * 300 + ".jsonl", "a" * 249 + ".jsonl"),
        ("é" * 200 + ".jsonl", "é" * 124 + ".jsonl"),
        ("a." + "b" * 300, "a." + "b" * 253),
        ("<script>.jsonl", "<script>.jsonl"),
        ("..", ".."),
        ("", ""),
    ],
)
def test_a_filename_is_a_printable_label(given: str, kept: str) -> None:
    assert module.label(given) == kept
    assert len(module.label(given).encode()) <= 255


@pytest.mark.parametrize("name", ["blob", "x/..", "\u202e"])
def test_a_file_without_a_real_name_is_refused(name: str, api: Client) -> None:
    boundary = "BB"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        f"x\r\n--{boundary}--\r\n"
    ).encode()

    response = api.post(FILES, body, content_type=f"multipart/form-data; boundary={boundary}")

    assert (response.status_code, error_of(response)["param"]) == (400, "file")


@pytest.mark.django_db(transaction=True)
def test_bytes_and_name_and_row_are_durable_in_this_order_before_the_answer(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(api)  # makes the directories that are made once
    steps = []

    def watch(target: Any, name: str, step: str) -> None:
        real = getattr(target, name)

        def watched(*args: Any) -> Any:
            steps.append(step)
            return real(*args)

        monkeypatch.setattr(target, name, watched)

    watch(os, "fsync", "fsync")
    watch(os, "rename", "rename")
    watch(connection, "_commit", "commit")

    upload(api)
    steps.append("answer")

    written = steps[steps.index("fsync") :]
    assert written[:3] == ["fsync", "rename", "fsync"]
    assert written[-2:] == ["commit", "answer"]
    assert set(written[3:-2]) <= {"fsync"}


def test_a_full_disk_is_told_and_leaves_nothing(
    api: Client, monkeypatch: pytest.MonkeyPatch, storage_dir: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    api.get("/readyz")
    monkeypatch.setattr(os, "fsync", full)

    response = upload(api)

    assert (response.status_code, error_of(response)["code"]) == (503, "storage_unavailable")
    assert response["Retry-After"]
    assert objects(storage_dir) == []
    assert not File.objects.exists()


def test_a_failed_row_answers_no_success(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NotFound("no")

    monkeypatch.setattr("files.views.save", refuse)

    assert upload(api).status_code == 404
    assert not File.objects.exists()
