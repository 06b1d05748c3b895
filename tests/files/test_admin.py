from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import reverse

from accounts.models import Account
from console.models import Act
from files import admin as files_admin
from files.models import Blob, File
from tests.console.operators import with_permissions
from tests.factories import FileFactory

LOOK, READ = "files.view_file", "batches.view_content"


@pytest.mark.parametrize("model", ["file", "blob"])
def test_every_page_opens_and_changes_nothing(
    model: str, admin_client: Client, account: Account
) -> None:
    file = FileFactory(account, filename="<script>alert(1)</script>.jsonl")
    row = file if model == "file" else Blob.objects.get()
    change = reverse(f"admin:files_{model}_change", args=[row.pk])

    listed = admin_client.get(reverse(f"admin:files_{model}_changelist") + "?q=x")
    detail = admin_client.get(change)

    assert (listed.status_code, detail.status_code) == (200, 200)
    assert b"<script>alert(1)" not in listed.content + detail.content
    assert admin_client.post(change, {}).status_code == 403
    assert admin_client.get(reverse(f"admin:files_{model}_add")).status_code == 403
    assert (
        admin_client.post(reverse(f"admin:files_{model}_delete", args=[row.pk])).status_code == 403
    )


@pytest.mark.parametrize("page", ["changelist", "change"])
def test_few_queries(
    page: str, admin_client: Client, account: Account, django_assert_max_num_queries: Any
) -> None:
    files = [FileFactory(account, *[b"x"] * 20) for _ in range(20)]
    ContentType.objects.get_for_model(File)  # which Django asks for once and keeps

    with django_assert_max_num_queries(10):
        args = [files[0].pk] if page == "change" else None
        assert admin_client.get(reverse(f"admin:files_file_{page}", args=args)).status_code == 200


def test_of_many_parts_the_first_are_shown(
    admin_client: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = FileFactory(account, *(b"%d" % number for number in range(5)))
    page = reverse("admin:files_file_change", args=[file.pk])
    blobs = list(file.parts.order_by("number").values_list("blob_id", flat=True))
    assert all(blob in admin_client.get(page).content.decode() for blob in blobs)
    monkeypatch.setattr(files_admin, "PARTS", 2)

    told = admin_client.get(page).content.decode()

    assert [blob in told for blob in blobs] == [True, True, False, False, False]
    assert "and 3 more" in told


# Downloads


def content_of(client: Client, file: File, **headers: str) -> Any:
    return client.get(reverse("admin:files_file_content", args=[file.pk]), headers=headers)


def test_who_may_read_content_downloads_a_file_and_the_log_has_it(account: Account) -> None:
    file = FileFactory(account, b"one\n", b"two\n", purpose="assistants")
    auditor = with_permissions(LOOK, READ)

    response = content_of(auditor, file)

    assert b"".join(response.streaming_content) == b"one\ntwo\n"
    assert response["Content-Disposition"].startswith("attachment")
    act = Act.objects.get()
    assert (act.verb, act.affected.get().object_id) == ("download files", file.pk)
    again = content_of(auditor, file, if_none_match=response["ETag"])
    assert again.status_code == 304
    assert Act.objects.count() == 1


@pytest.mark.parametrize("permissions", [[LOOK], [READ]])
def test_who_may_not_read_content_gets_none(permissions: list[str], account: Account) -> None:
    file = FileFactory(account)
    client = with_permissions(*permissions)

    assert content_of(client, file).status_code == 403
    page = client.get(reverse("admin:files_file_change", args=[file.pk]))
    assert b">Download</a>" not in page.content
    assert not Act.objects.exists()


def test_bytes_that_are_lost_are_told_and_not_logged(
    admin_client: Client, account: Account, storage_dir: Any
) -> None:
    file = FileFactory(account)
    for path in storage_dir.rglob("*"):
        if path.is_file():
            path.unlink()

    response = admin_client.get(reverse("admin:files_file_content", args=[file.pk]), follow=True)

    assert "The storage has lost the bytes of this file." in response.content.decode()
    assert not Act.objects.exists()


def test_a_range_beyond_the_end_is_refused(admin_client: Client, account: Account) -> None:
    file = FileFactory(account, b"abc")

    assert content_of(admin_client, file, range="bytes=99-").status_code == 416
    part = content_of(admin_client, file, range="bytes=1-")
    assert (part.status_code, b"".join(part.streaming_content)) == (206, b"bc")
    nowhere = reverse("admin:files_file_content", args=["file-nowhere"])
    assert admin_client.get(nowhere).status_code == 404
    assert admin_client.post(nowhere).status_code == 405
