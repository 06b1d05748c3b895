import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Account
from files.models import Blob
from tests.factories import FileFactory


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
