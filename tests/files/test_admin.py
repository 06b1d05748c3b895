from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Account
from console.models import Act
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


def test_the_list_needs_few_queries(
    admin_client: Client, account: Account, django_assert_max_num_queries: object
) -> None:
    for _ in range(20):
        FileFactory(account)

    with django_assert_max_num_queries(15):  # type: ignore[operator]
        admin_client.get(reverse("admin:files_file_changelist"))


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
