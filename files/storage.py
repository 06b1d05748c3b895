"""Where bytes live: objects that are durable once committed, never change, and have names nobody chose."""

import contextlib
import dataclasses
import functools
import hashlib
import io
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

from django.conf import settings


class Missing(Exception):
    """The storage does not have the object, or has less of it than was asked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """An object that is durable: its key, its size, and the SHA-256 of its bytes in lower-case hex."""

    key: str
    bytes: int
    sha256: str


class Reader(Protocol):
    """A range of an object. It ends where the range ends."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, fewer only when fewer are at hand; b"" only at the end."""
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...


class Writer(Protocol):
    """A new object being written. Leaving its `with` block without `commit()` leaves nothing behind."""

    def write(self, data: bytes, /) -> None: ...

    def commit(self) -> Stored:
        """Return when the object is durable. Raises OSError, and the object is then not there."""
        ...

    def abort(self) -> None:
        """Let go of what was written; nothing happens after `commit()` or another `abort()`."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...


class Storage(Protocol):
    """Immutable objects by key. Trouble with the storage itself surfaces as OSError."""

    def writer(self) -> Writer: ...

    def read(self, key: str, start: int = 0, length: int | None = None) -> Reader:
        """Open `length` bytes from `start`, or all from there on. Raises Missing."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        ...

    def keys_older_than(self, seconds: float) -> Iterator[str]:
        """Yield the keys of objects committed more than `seconds` ago, in no order."""
        ...

    def sweep_temporary(self, seconds: float) -> int:
        """Remove what dead writers left more than `seconds` ago; return how many were removed."""
        ...

    def check(self) -> None:
        """Raise OSError when nothing can be written."""
        ...


def storage() -> Storage:
    """Return the storage the settings name."""
    return _local(Path(settings.STORAGE_DIR))


@functools.cache
def _local(root: Path) -> "LocalStorage":
    return LocalStorage(root)


# Local disk


class LocalStorage:
    """Objects as files `root/ab/cdef...`, written in `root/tmp` and renamed into place."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.temporary = root / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        _sync_directory(root.parent)
        self._lasting: set[Path] = set()  # directories known to survive a power cut

    def writer(self) -> "LocalWriter":
        return LocalWriter(self, secrets.token_hex(16))

    def read(self, key: str, start: int = 0, length: int | None = None) -> "LocalReader":
        try:
            file = open(self.path(key), "rb", buffering=0)  # noqa: SIM115 - LocalReader closes it
        except FileNotFoundError:
            raise Missing(f"The storage has no object {key}.") from None
        file.seek(start)
        return LocalReader(file, length)

    def delete(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def keys_older_than(self, seconds: float) -> Iterator[str]:
        for directory in self.root.iterdir():
            if len(directory.name) == 2:
                for file in _files_older_than(directory, seconds):
                    yield directory.name + file.name

    def sweep_temporary(self, seconds: float) -> int:
        removed = 0
        for file in _files_older_than(self.temporary, seconds):
            Path(file.path).unlink(missing_ok=True)
            removed += 1
        return removed

    def check(self) -> None:
        with self.writer() as writer:
            writer.write(b"?")

    def path(self, key: str) -> Path:
        return self.root / key[:2] / key[2:]

    def put(self, temporary: Path, key: str) -> None:
        """Move a synced file to its place, so that its name too survives a power cut."""
        place = self.path(key)
        with contextlib.suppress(FileExistsError):
            place.parent.mkdir()
        os.rename(temporary, place)
        _sync_directory(place.parent)
        if place.parent not in self._lasting:  # another process may have made it and not synced yet
            _sync_directory(self.root)
            self._lasting.add(place.parent)


class LocalWriter:
    """One temporary file on its way to becoming an object."""

    def __init__(self, storage: LocalStorage, key: str) -> None:
        self._storage = storage
        self._key = key
        self._path = storage.temporary / key
        self._file = open(self._path, "xb", opener=_private)  # noqa: SIM115 - closed by commit and abort
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._is_over = False

    def write(self, data: bytes, /) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._bytes += len(data)

    def commit(self) -> Stored:
        # A failed fsync is never tried again: the second one would call lost pages written.
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._storage.put(self._path, self._key)
        except OSError:
            self.abort()
            self._storage.delete(self._key)
            raise
        self._is_over = True
        return Stored(self._key, self._bytes, self._digest.hexdigest())

    def abort(self) -> None:
        if self._is_over:
            return
        with contextlib.suppress(OSError):  # what a full disk cannot take is let go anyway
            self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.abort()


class LocalReader:
    """The bytes of one file up to the end of a range."""

    def __init__(self, file: io.FileIO, length: int | None) -> None:
        self._file = file
        self._left = length

    def read(self, size: int = -1, /) -> bytes:
        if self._left is None:
            return self._file.read(size)
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files_older_than(directory: Path, seconds: float) -> Iterator[os.DirEntry[str]]:
    # The file's stamps come from this host's clock, so its age is told by that clock too.
    before = time.time() - seconds
    with os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # gone in the meantime
                if entry.stat().st_mtime < before:
                    yield entry
