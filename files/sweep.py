"""How files go: the row first, the object second, so that a crash leaves garbage and never a row without bytes."""

import dataclasses
import datetime
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from api.clock import database_now
from files.models import Blob, File
from files.storage import storage

KEYS_AT_ONCE = 500  # below SQLite's limit of variables in one statement
Item = TypeVar("Item")


class Held(Exception):
    """The file is the input of a batch that has not ended."""


@dataclasses.dataclass(frozen=True, slots=True)
class Purged:
    """How much one call of `purge_files` removed."""

    files: int
    blobs: int
    objects: int
    temporary: int


def delete_file(file: File) -> None:
    """Delete a file and, once that is committed, the bytes nothing else needs. Raises Held."""
    try:
        with transaction.atomic():
            keys = list(file.parts.values_list("blob_id", flat=True))
            file.delete()
            for some in _slices(keys):
                _delete_blobs(list(Blob.objects.filter(pk__in=some).unreferenced()))
    except (ProtectedError, IntegrityError) as error:
        # IntegrityError: a batch took the file after Django had looked for one.
        raise Held(f"{file.pk} is in use by a batch that has not ended.") from error


def purge_files(limit: int = 1000) -> Purged:
    """Remove what nobody can ask for any more, at most `limit` of each kind.

    That is: expired files no batch holds; blobs no row refers to and objects no blob names, both
    older than ORPHAN_GRACE_SECONDS; temporary files of dead writers. Safe to run twice and at once.
    """
    return Purged(
        files=_purge_expired(limit),
        blobs=_purge_blobs(limit),
        objects=_purge_objects(limit),
        temporary=storage().sweep_temporary(settings.ORPHAN_GRACE_SECONDS),
    )


def _purge_expired(limit: int) -> int:
    removed = 0
    for file in File.objects.expired(database_now()).filter(holders__isnull=True)[:limit]:
        try:
            delete_file(file)
        except Held:  # a batch began with it this moment
            continue
        removed += 1
    return removed


def _purge_blobs(limit: int) -> int:
    before = database_now() - datetime.timedelta(seconds=settings.ORPHAN_GRACE_SECONDS)
    old = Blob.objects.unreferenced().filter(created_at__lt=before)[:limit]
    removed = 0
    for blobs in _slices(old):
        with transaction.atomic():
            _delete_blobs(blobs)
        removed += len(blobs)
    return removed


def _purge_objects(limit: int) -> int:
    removed = 0
    for keys in _slices(storage().keys_older_than(settings.ORPHAN_GRACE_SECONDS)):
        known = set(Blob.objects.filter(pk__in=keys).values_list("pk", flat=True))
        orphans = [key for key in keys if key not in known][: limit - removed]
        _delete_objects(orphans)
        removed += len(orphans)
        if removed == limit:
            break
    return removed


def _delete_blobs(blobs: list[Blob]) -> None:
    keys = [blob.pk for blob in blobs]
    Blob.objects.filter(pk__in=keys).delete()
    # robust: an object that cannot be deleted now is an orphan, and found again as one.
    transaction.on_commit(lambda: _delete_objects(keys), robust=True)


def _delete_objects(keys: list[str]) -> None:
    for key in keys:
        storage().delete(key)


def _slices(items: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while some := list(islice(rest, KEYS_AT_ONCE)):
        yield some
