"""Answers that are not recorded yet, in a file that outlives the process that had them.

Answers are written at the end of the loop's step that brought them, and count as in flight until then. So whoever
takes over from a process that was killed repeats at most as many calls as it was allowed to have in flight. A write
goes to the page cache and is not synced: a power cut may take the spool, and then its answers are asked for again.
"""

import asyncio
import logging
import math
import os
import struct
import time
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from batches.executor.lines import Entry, Result

logger = logging.getLogger(__name__)

MB = 1024 * 1024
REWRITTEN_BYTES = 16 * MB  # beyond what is not recorded yet, and the rest is left behind
RETRY_SECONDS = 10.0  # without a spool, after the disk refused
READ_BYTES = MB  # at a time
FRAME_RESULTS = 256  # at most
FRAME_BYTES = 8 * MB  # of lines, but for the last one

_HEAD = struct.Struct("<III")  # of a frame: bytes of the index, bytes of the lines, CRC-32 of both
_encoder = msgspec.json.Encoder()
_index = msgspec.json.Decoder(list[tuple[int, int, Entry]])

# Key and attempt of the work that the result belongs to. An answer is as good for whoever claims it in that attempt.
Spooled = tuple[int, int, Result]


class Spool:
    """The unrecorded answers of one engine. Trouble with the disk is logged, and never stands in the way of a call.

    directory: shared by those who may take over. name: nobody else's, without a dot or a space.
    outlives: from now on nothing of it is removed here, for others may need it.
    """

    def __init__(
        self, directory: Path, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.outlives = False
        self._directory = directory
        self._name = name
        self._clock = clock
        self._number = 0
        self._path: Path | None = None
        self._file: int | None = None
        self._bytes = 0
        self.pending: list[Spooled] = []  # to be written
        self._retry_at = -math.inf

    def add(self, key: int, attempt: int, result: Result) -> None:
        """Have the result outlive this process from the end of the loop's step on, if that can be had now."""
        if self._file is None:
            return
        if not self.pending:
            asyncio.get_running_loop().call_soon(self.flush)
        self.pending.append((key, attempt, result))

    def flush(self) -> None:
        """Have everything that was added outlive this process from now on."""
        if self._file is not None and self.pending:
            try:
                self._bytes += sum(_write(self._file, frame) for frame in _frames(self.pending))
            except OSError as error:
                self._fail(error)
        self.pending = []

    def is_due(self, unrecorded_bytes: int) -> bool:
        """Whether `rewrite` should be called: there is no spool yet, or most of it has been recorded since."""
        if self._file is None:
            return self._clock() >= self._retry_at
        return self._bytes > REWRITTEN_BYTES + unrecorded_bytes

    def rewrite(self, unrecorded: Iterable[Spooled]) -> None:
        """Begin anew with the results that are not recorded yet, those that were just added among them."""
        old, self._number = self._path, self._number + 1
        path = self._directory / f"{self._name}.{self._number}"
        file = None
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            written = sum(_write(file, frame) for frame in _frames(unrecorded))
        except OSError as error:
            if file is not None:
                _close(file)
                _remove(path)
            self._fail(error)
            return
        self._let_go()
        self._path, self._file, self._bytes = path, file, written
        self.pending = []
        if old is not None and not self.outlives:
            _remove(old)

    def close(self) -> None:
        """Write no more."""
        self._let_go()
        self._retry_at = math.inf
        if self._path is not None and not self.outlives:
            _remove(self._path)

    def _fail(self, error: OSError) -> None:
        """What was written before stays readable."""
        logger.warning("Answers are not spooled for %g s: %s", RETRY_SECONDS, error)
        self._let_go()
        self._retry_at = self._clock() + RETRY_SECONDS

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            _close(file)


def spooled(
    directory: Path, name: str, works: Container[tuple[int, int]]
) -> Iterator[tuple[int, Result]]:
    """The results that the engine of this name had of these works, by key and attempt, some perhaps twice: keys, results.

    Damage ends what is read, and so does a disk that refuses; neither is an error.
    """
    try:
        for path in sorted(directory.glob(f"{name}.*")):
            with path.open("rb", buffering=READ_BYTES) as file:
                yield from _read(file, works)
    except (OSError, ValueError) as error:  # ValueError: an index of another version
        logger.warning("The spool of %s cannot be read: %s", name, error)


def forget_spools(directory: Path, needed: Callable[[set[str]], set[str]], seconds: float) -> None:
    """Remove the spools that were last written more than `seconds` ago and that nobody needs.

    needed: returns those of these names of engines that somebody does.
    """
    # The files' stamps come from this host's clock, so their age is told by that clock too.
    before = time.time() - seconds
    old: dict[Path, str] = {}
    for path in directory.glob("*.*"):
        with suppress(OSError):  # gone in the meantime, most likely
            if path.stat().st_mtime < before:
                old[path] = path.name.partition(".")[0]
    if old:
        kept = needed(set(old.values()))
        for path, name in old.items():
            if name not in kept:
                _remove(path)


def _frames(results: Iterable[Spooled]) -> Iterator[list[Spooled]]:
    frame: list[Spooled] = []
    size = 0
    for spooled in results:
        frame.append(spooled)
        size += len(spooled[2].line)
        if len(frame) == FRAME_RESULTS or size >= FRAME_BYTES:
            yield frame
            frame, size = [], 0
    if frame:
        yield frame


def _write(file: int, frame: Sequence[Spooled]) -> int:
    """Write an index, and the lines in its order. Return how many bytes that were."""
    index = _encoder.encode([(key, attempt, result.entry) for key, attempt, result in frame])
    lines = [result.line for _, _, result in frame]
    size, crc = 0, zlib.crc32(index)
    for line in lines:
        size += len(line)
        crc = zlib.crc32(line, crc)
    head = _HEAD.pack(len(index), size, crc)
    written = len(head) + len(index) + size
    if os.writev(file, [head, index, *lines]) != written:
        raise OSError("The disk took only a part of the answers.")
    return written


def _read(file: BinaryIO, works: Container[tuple[int, int]]) -> Iterator[tuple[int, Result]]:
    left = os.fstat(file.fileno()).st_size
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        index_bytes, lines_bytes, crc = _HEAD.unpack(head)
        left -= _HEAD.size + index_bytes + lines_bytes
        if left < 0 or not index_bytes:  # cut off, or no head of ours
            return
        index, lines = file.read(index_bytes), file.read(lines_bytes)
        if crc != zlib.crc32(lines, zlib.crc32(index)):
            return
        start = 0
        for key, attempt, entry in _index.decode(index):
            end = start + entry.bytes
            if (key, attempt) in works:
                yield key, Result(entry, lines[start:end])
            start = end


def _close(file: int) -> None:
    with suppress(OSError):  # some file systems tell only now that they could not write
        os.close(file)


def _remove(path: Path) -> None:
    with suppress(OSError):  # what is left is removed when it is old
        path.unlink()
