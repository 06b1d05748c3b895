"""Answers that are not recorded yet, in a file that outlives the process that had them.

An answer is in the spool before its slot goes to another call. So whoever takes over from a process that was killed
repeats at most the calls that were in flight. It costs a write to the page cache and no sync: a power cut may take
the spool, and then those answers are asked for again.
"""

import logging
import math
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from batches.executor.lines import Entry, Result

logger = logging.getLogger(__name__)

MB = 1024 * 1024
REWRITTEN_BYTES = 16 * MB  # beyond twice what is not recorded yet, and the rest is left behind
RETRY_SECONDS = 10.0  # without a spool, after the disk refused
READ_BYTES = MB  # at a time

_HEAD = struct.Struct("<qIII")  # key and epoch of the work, bytes of the entry and of the line
_SUM = struct.Struct("<I")  # CRC-32 of all that, behind it
_encoder = msgspec.json.Encoder()
_entry = msgspec.json.Decoder(Entry)

Spooled = tuple[int, int, Result]  # key and epoch of the work that the result belongs to


class Spool:
    """The unrecorded answers of one engine. Trouble with the disk is logged, and never stands in the way of a call.

    directory: shared by those who may take over. name: nobody else's, without a dot.
    """

    def __init__(
        self, directory: Path, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory = directory
        self._name = name
        self._clock = clock
        self._number = 0
        self._path: Path | None = None
        self._file: int | None = None
        self._bytes = 0
        self._retry_at = -math.inf

    def add(self, key: int, epoch: int, result: Result) -> None:
        """Return when the result outlives this process, or when that cannot be had now."""
        if self._file is None:
            return
        record = _packed(key, epoch, result)
        try:
            _write(self._file, record)
        except OSError as error:
            self._fail(error)
        self._bytes += len(record)

    def is_due(self, unrecorded_bytes: int) -> bool:
        """Whether `rewrite` should be called: there is no spool yet, or most of it has been recorded since."""
        if self._file is None:
            return self._clock() >= self._retry_at
        return self._bytes > REWRITTEN_BYTES + 2 * unrecorded_bytes

    def rewrite(self, unrecorded: Iterable[Spooled]) -> None:
        """Begin anew with the results that are not recorded yet."""
        old, self._number = self._path, self._number + 1
        path = self._directory / f"{self._name}.{self._number}"
        file = None
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            written = 0
            for key, epoch, result in unrecorded:
                record = _packed(key, epoch, result)
                _write(file, record)
                written += len(record)
        except OSError as error:
            if file is not None:
                os.close(file)
                _remove(path)
            self._fail(error)
            return
        self._let_go()
        self._path, self._file, self._bytes = path, file, written
        if old is not None:
            _remove(old)

    def close(self, *, keep: bool) -> None:
        """Write no more. keep: leave it to those who take over, for it has answers that nobody recorded."""
        self._let_go()
        self._retry_at = math.inf
        if self._path is not None and not keep:
            _remove(self._path)

    def _fail(self, error: OSError) -> None:
        """What was written before stays readable."""
        logger.warning("Answers are not spooled for %g s: %s", RETRY_SECONDS, error)
        self._let_go()
        self._retry_at = self._clock() + RETRY_SECONDS

    def _let_go(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def spooled(directory: Path, name: str, key: int, epoch: int) -> Iterator[Result]:
    """The results that the engine of this name had of a work, in no order, some perhaps twice.

    Damage ends what is read, and so does a disk that refuses; neither is an error.
    """
    for path in sorted(directory.glob(f"{name}.*")):
        try:
            with path.open("rb", buffering=READ_BYTES) as file:
                yield from _read(file, key, epoch)
        except OSError as error:
            logger.warning("The spool %s cannot be read: %s", path.name, error)


def forget_spools(directory: Path, living: Callable[[set[str]], set[str]], seconds: float) -> None:
    """Remove the spools that were last written more than `seconds` ago and whose engines are not among the living.

    living: returns those of these names that are.
    """
    # The files' stamps come from this host's clock, so their age is told by that clock too.
    before = time.time() - seconds
    old: dict[Path, str] = {}
    for path in directory.glob("*.*"):
        with suppress(FileNotFoundError):  # gone in the meantime
            if path.stat().st_mtime < before:
                old[path] = path.name.partition(".")[0]
    if old:
        kept = living(set(old.values()))
        for path, name in old.items():
            if name not in kept:
                _remove(path)


def _packed(key: int, epoch: int, result: Result) -> bytes:
    line = result.line
    entry = _encoder.encode(result.entry)
    start = _HEAD.pack(key, epoch, len(entry), len(line)) + entry
    return b"".join((start, line, _SUM.pack(zlib.crc32(line, zlib.crc32(start)))))


def _write(file: int, record: bytes) -> None:
    if os.write(file, record) != len(record):
        raise OSError("The disk took only a part of an answer.")


def _read(file: BinaryIO, key: int, epoch: int) -> Iterator[Result]:
    left = os.fstat(file.fileno()).st_size
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        its_key, its_epoch, entry_bytes, line_bytes = _HEAD.unpack(head)
        left -= _HEAD.size + entry_bytes + line_bytes + _SUM.size
        if left < 0:  # cut off, or no head of ours
            return
        if (its_key, its_epoch) != (key, epoch):
            file.seek(entry_bytes + line_bytes + _SUM.size, os.SEEK_CUR)
            continue
        text = file.read(entry_bytes + line_bytes)
        if file.read(_SUM.size) != _SUM.pack(zlib.crc32(text, zlib.crc32(head))):
            return
        yield Result(_entry.decode(text[:entry_bytes]), text[entry_bytes:])


def _remove(path: Path) -> None:
    with suppress(OSError):  # what is left is removed when it is old
        path.unlink()
