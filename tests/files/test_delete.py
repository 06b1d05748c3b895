import datetime
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import Account
from api.clock import database_now
from batches.models import Batch, Status
from files.models import Blob, File, FilePart
from files.storage import storage
from tests.factories import FILES, FileFactory, error_of, upload

pytestmark = pytest.mark.django_db(transaction=True)


def objects(storage_dir: Path) -> list[Path]:
    return [path for path in storage_dir.rglob("*") if path.is_file()]


def hold(file: File) -> Batch:
    return Batch.objects.create(
        account=file.account,
        created_by="test",
        input_file=file,
        held_file=file,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        max_concurrency=1,
        expires_at=database_now() + datetime.timedelta(hours=24),
    )


def test_a_deleted_file_is_gone_with_its_bytes(api: Client, storage_dir: Path) -> None:
    file_id = upload(api).json()["id"]

    response = api.delete(f"{FILES}/{file_id}", content_type="application/json")

    assert response.json() == {"id": file_id, "object": "file", "deleted": True}
    assert api.get(f"{FILES}/{file_id}").status_code == 404
    assert not Blob.objects.exists()
    assert objects(storage_dir) == []


def test_bytes_that_another_file_needs_stay(api: Client, account: Account) -> None:
    one, other = FileFactory(account), FileFactory(account, b"x")
    shared = one.parts.get().blob
    FilePart.objects.create(file=other, number=1, blob=shared, bytes=shared.bytes)

    api.delete(f"{FILES}/{one.pk}")

    with storage().read(shared.key) as reader:
        assert reader.read()


def test_a_file_a_running_batch_needs_is_kept(api: Client, account: Account) -> None:
    file = FileFactory(account)
    hold(file)

    response = api.delete(f"{FILES}/{file.pk}")

    assert (response.status_code, error_of(response)["code"]) == (409, "file_in_use")
    assert response["x-should-retry"] == "false"
    assert api.get(f"{FILES}/{file.pk}/content").getvalue()


def test_a_batch_that_takes_the_file_at_that_moment_wins(
    api: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = FileFactory(account)
    hold(file)

    def delete_without_looking(self: File) -> None:
        FilePart.objects.filter(file=self).delete()
        File.objects.filter(pk=self.pk)._raw_delete("default")

    monkeypatch.setattr(File, "delete", delete_without_looking)

    assert api.delete(f"{FILES}/{file.pk}").status_code == 409
    assert api.get(f"{FILES}/{file.pk}/content").getvalue()


def test_a_file_of_an_ended_batch_can_be_deleted(api: Client, account: Account) -> None:
    file = FileFactory(account)
    hold(file).move(Status.FAILED, actor="test")

    assert api.delete(f"{FILES}/{file.pk}").status_code == 200


def test_the_row_goes_before_the_object(
    api: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = FileFactory(account)
    seen = []
    monkeypatch.setattr(
        type(storage()),
        "delete",
        lambda self, key: seen.append(Blob.objects.filter(pk=key).exists()),
    )

    api.delete(f"{FILES}/{file.pk}")

    assert seen == [False]


def test_an_object_that_cannot_be_deleted_now_does_not_fail_the_call(
    api: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is away")

    monkeypatch.setattr(type(storage()), "delete", fail)

    assert api.delete(f"{FILES}/{FileFactory(account).pk}").status_code == 200
    assert settings.ORPHAN_GRACE_SECONDS > 0, "the sweep finds it later"
