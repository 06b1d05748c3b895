import datetime
import os
import threading
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from accounts.models import Account
from api.clock import database_now
from files.content import save_blob, store
from files.models import Blob, File
from files.storage import Missing, storage
from files.sweep import Purged, purge_files
from tests.factories import FileFactory
from tests.files.test_delete import hold

pytestmark = pytest.mark.django_db(transaction=True)
NOTHING = Purged(files=0, blobs=0, objects=0, temporary=0)


def expire(file: File) -> None:
    File.objects.filter(pk=file.pk).update(expires_at=database_now())


def age_objects(storage_dir: Path) -> None:
    then = time.time() - settings.ORPHAN_GRACE_SECONDS - 60
    for path in storage_dir.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def age_blobs() -> None:
    grace = datetime.timedelta(seconds=settings.ORPHAN_GRACE_SECONDS + 60)
    Blob.objects.update(created_at=database_now() - grace)


def test_an_expired_file_goes_with_its_bytes(account: Account) -> None:
    file, kept = FileFactory(account), FileFactory(account)
    key = file.parts.get().blob_id
    expire(file)

    assert purge_files() == Purged(files=1, blobs=0, objects=0, temporary=0)
    assert list(File.objects.all()) == [kept]
    with pytest.raises(Missing):
        storage().read(key)


def test_an_expired_file_a_batch_needs_stays(account: Account) -> None:
    file = FileFactory(account)
    hold(file)
    expire(file)

    assert purge_files() == NOTHING
    assert File.objects.filter(pk=file.pk).exists()


def test_what_is_new_or_needed_stays(account: Account, storage_dir: Path) -> None:
    FileFactory(account)
    age_objects(storage_dir)
    age_blobs()
    store(b"new, without a row yet")
    save_blob(store(b"new, without a reference yet"))

    assert purge_files() == NOTHING


def test_an_old_blob_nobody_refers_to_goes(storage_dir: Path) -> None:
    save_blob(store(b"left over"))
    age_blobs()

    assert purge_files() == Purged(files=0, blobs=1, objects=0, temporary=0)
    assert list(storage().keys_older_than(-1)) == []


def test_an_old_object_without_a_row_goes(storage_dir: Path) -> None:
    store(b"the process died here")
    age_objects(storage_dir)

    assert purge_files() == Purged(files=0, blobs=0, objects=1, temporary=0)
    assert purge_files() == NOTHING


def test_an_old_temporary_file_goes(storage_dir: Path) -> None:
    writer = storage().writer()
    writer.write(b"x")
    age_objects(storage_dir)

    assert purge_files() == Purged(files=0, blobs=0, objects=0, temporary=1)
    writer.abort()


def test_one_call_does_a_limited_amount_and_the_next_goes_on(
    account: Account, storage_dir: Path
) -> None:
    for _ in range(5):
        expire(FileFactory(account))
        store(b"x")
    age_objects(storage_dir)

    done = [purge_files(limit=2) for _ in range(4)]

    assert [purged.files for purged in done] == [2, 2, 1, 0]
    assert [purged.objects for purged in done] == [2, 2, 1, 0]


def test_two_sweeps_at_once_remove_everything_once(account: Account, storage_dir: Path) -> None:
    for _ in range(10):
        expire(FileFactory(account))
        store(b"x")
    age_objects(storage_dir)
    failures = []

    def sweep() -> None:
        try:
            purge_files()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert not File.objects.exists()
    assert list(storage().keys_older_than(-1)) == []


def test_a_purged_file_answers_404(api: Client, account: Account) -> None:
    file = FileFactory(account)
    expire(file)
    purge_files()

    assert api.get(f"/v1/files/{file.pk}/content").status_code == 404
