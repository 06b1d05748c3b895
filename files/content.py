"""The bytes of a file: writing them as blobs, reading them back as one stream over its parts."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

from django.db import transaction

from api.prepared import Given, Prepared
from files.models import Blob, File, FilePart
from files.storage import Missing, Reader, Stored, storage

BLOCK = 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """`bytes` bytes of one object, from `start`."""

    key: str
    start: int
    bytes: int


def store(pieces: bytes | Iterable[bytes]) -> Stored:
    """Write a new object and return it once it is durable. Raises OSError, leaving nothing."""
    with storage().writer() as writer:
        for piece in (pieces,) if isinstance(pieces, bytes) else pieces:
            writer.write(piece)
        return writer.commit()


def save_blob(stored: Stored) -> Blob:
    """Write the row of an object that is already durable."""
    return Blob.objects.create(key=stored.key, bytes=stored.bytes, sha256=stored.sha256)


def save_file(file: File, blobs: Sequence[Blob]) -> File:
    """Write a file's row and its parts, the whole of each blob in order, in one transaction.

    `file.bytes` becomes the sum of the blobs; the rest of `file` is the caller's.
    """
    file.bytes = sum(blob.bytes for blob in blobs)
    with transaction.atomic():
        file.save(force_insert=True)
        FilePart.objects.bulk_create(
            FilePart(file=file, number=number, blob=blob, bytes=blob.bytes)
            for number, blob in enumerate(blobs)
        )
    return file


Part = tuple[str, int, int]  # of a file: the key of an object, where it begins in it, its bytes


def parts_of(file_id: str) -> list[Part]:
    """The parts of a file, in their order; also of one whose row is gone, as long as they are there."""
    return _parts.rows(file=file_id)


_parts: Prepared[Any] = Prepared(
    lambda: (
        FilePart.objects.filter(file=Given("file"))
        .order_by("number")
        .values_list("blob_id", "start", "bytes")
    )
)


def open_file(file: File, start: int = 0, length: int | None = None) -> "FileStream":
    """Open `length` bytes of a file from `start` as one stream, reading nothing of what is before.

    Raises Missing, here or while reading, when the storage has lost some of them.
    """
    end = file.bytes if length is None else min(start + length, file.bytes)
    return open_parts(parts_of(file.pk), start, end)


def open_parts(parts: Sequence[Part], start: int, end: int) -> "FileStream":
    """Open the bytes from `start` to before `end`, or as many of them as there are. Raises as `open_file`."""
    return FileStream(_ranges(parts, start, end))


def blocks(
    file: File, start: int = 0, length: int | None = None, size: int = BLOCK
) -> Iterator[bytes]:
    """Yield the same bytes in blocks of at most `size`."""
    with open_file(file, start, length) as stream:
        while block := stream.read(size):
            yield block


class FileStream:
    """Ranges of objects, one after the other. One of them is open at a time, the first at once."""

    def __init__(self, ranges: Iterable[Range]) -> None:
        self._ranges = iter(ranges)
        self._reader: Reader | None = None
        self._left = 0
        self._next()

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, fewer at the border of two parts; b"" only at the end."""
        if size < 0:
            return b"".join(self)
        while self._reader is not None and not self._left:
            self._next()
        if self._reader is None:
            return b""
        block = self._reader.read(min(size, self._left))
        if size and not block:
            raise Missing(f"An object of the file ends {self._left} bytes too early.")
        self._left -= len(block)
        return block

    def _next(self) -> None:
        self.close()
        part = next(self._ranges, None)
        if part is not None:
            self._reader = storage().read(part.key, part.start, part.bytes)
            self._left = part.bytes

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(BLOCK):
            yield block

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _ranges(parts: Iterable[Part], start: int, end: int) -> list[Range]:
    """Cut the parts of a file down to its bytes from `start` to before `end`."""
    found = []
    offset = 0
    for key, part_start, length in parts:
        first = max(start - offset, 0)
        last = min(end - offset, length)
        if first < last:
            found.append(Range(key, part_start + first, last - first))
        offset += length
    return found
