import pytest
from django.test import Client

from accounts.models import Account
from files.models import File
from files.storage import storage
from tests.factories import FILES, FileFactory, error_of

CONTENT = b"0123456789"


@pytest.fixture
def file(account: Account) -> File:
    return FileFactory(account, CONTENT[:4], CONTENT[4:], filename='a".jsonl')


def test_the_whole_file_comes_with_its_headers(api: Client, file: File) -> None:
    response = api.get(f"{FILES}/{file.pk}/content")

    assert response.status_code == 200
    assert response.getvalue() == CONTENT
    headers = {
        "Content-Type": "application/jsonl",
        "Content-Length": "10",
        "Content-Disposition": 'attachment; filename="a\\".jsonl"',
        "Accept-Ranges": "bytes",
        "ETag": f'"{file.pk}"',
        "Cache-Control": "private, no-store",
        "Content-Security-Policy": "sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    assert {name: response[name] for name in headers} == headers


@pytest.mark.parametrize(
    ("header", "content_range", "expected"),
    [
        ("bytes=0-", "bytes 0-9/10", CONTENT),
        ("bytes=0-0", "bytes 0-0/10", b"0"),
        ("bytes=3-6", "bytes 3-6/10", b"3456"),
        ("bytes=8-99", "bytes 8-9/10", b"89"),
        ("bytes=-3", "bytes 7-9/10", b"789"),
        ("bytes=-99", "bytes 0-9/10", CONTENT),
    ],
)
def test_a_range_is_served(
    header: str, content_range: str, expected: bytes, api: Client, file: File
) -> None:
    response = api.get(f"{FILES}/{file.pk}/content", headers={"Range": header})

    assert (response.status_code, response["Content-Range"]) == (206, content_range)
    assert response.getvalue() == expected
    assert response["Content-Length"] == str(len(expected))


@pytest.mark.parametrize(
    "header", ["bytes=10-", "bytes=99-100", "bytes=-0", "bytes=-", "bytes=" + "9" * 18 + "-"]
)
def test_a_range_outside_the_file_is_refused(header: str, api: Client, file: File) -> None:
    response = api.get(f"{FILES}/{file.pk}/content", headers={"Range": header})

    assert (response.status_code, response["Content-Range"]) == (416, "bytes */10")
    error_of(response)


@pytest.mark.parametrize(
    "header", ["bytes=0-1,4-5", "lines=1-2", "bytes=a-b", "bytes=5-2", "bytes=" + "9" * 5000 + "-"]
)
def test_a_range_that_cannot_be_read_is_ignored(header: str, api: Client, file: File) -> None:
    response = api.get(f"{FILES}/{file.pk}/content", headers={"Range": header})

    assert (response.status_code, response.getvalue()) == (200, CONTENT)


@pytest.mark.parametrize(("etag", "status"), [("the file's", 206), ('"other"', 200)])
def test_if_range_asks_for_the_same_file(etag: str, status: int, api: Client, file: File) -> None:
    etag = f'"{file.pk}"' if etag == "the file's" else etag
    headers = {"Range": "bytes=1-2", "If-Range": etag}

    response = api.get(f"{FILES}/{file.pk}/content", headers=headers)

    assert response.status_code == status
    assert len(response.getvalue()) == (2 if status == 206 else 10)


@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"x", "{}"', "*"])
def test_who_has_the_file_is_told_so(form: str, api: Client, file: File) -> None:
    response = api.get(
        f"{FILES}/{file.pk}/content", headers={"If-None-Match": form.format(file.pk)}
    )

    assert (response.status_code, response.content) == (304, b"")
    assert response["ETag"] == f'"{file.pk}"'


def test_any_accept_header_will_do(api: Client, file: File) -> None:
    for accept in ("application/binary", "image/png", "x" * 9000):
        response = api.get(f"{FILES}/{file.pk}/content", headers={"Accept": accept})
        assert response.getvalue() == CONTENT


def test_head_opens_nothing(api: Client, file: File) -> None:
    for part in file.parts.all():
        storage().delete(part.blob_id)

    response = api.head(f"{FILES}/{file.pk}/content")

    assert (response.status_code, response["Content-Length"]) == (200, "10")


@pytest.mark.parametrize("purpose", ["user_data", "assistants", "vision"])
def test_some_purposes_cannot_be_downloaded(purpose: str, api: Client, account: Account) -> None:
    response = api.get(f"{FILES}/{FileFactory(account, purpose=purpose).pk}/content")

    assert response.status_code == 400
    assert error_of(response)["message"] == f"Not allowed to download files of purpose: {purpose}"


def test_lost_bytes_are_an_error_and_no_short_file(api: Client, file: File) -> None:
    storage().delete(file.parts.order_by("number")[0].blob_id)

    response = api.get(f"{FILES}/{file.pk}/content")

    assert (response.status_code, error_of(response)["code"]) == (500, "server_error")
