import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from files.content import store
from files.storage import Missing, storage


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_a_stored_object_is_read_back() -> None:
    stored = store([b"hello ", b"world"])

    with storage().read(stored.key) as reader:
        assert reader.read() == b"hello world"
    assert stored.bytes == 11
    assert stored.sha256 == "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"


def test_a_range_ends_where_it_ends() -> None:
    key = store(b"0123456789").key

    with storage().read(key, 3, 4) as reader:
        assert [reader.read(3), reader.read(3), reader.read(3)] == [b"345", b"6", b""]


def test_an_object_that_is_not_there_is_missing() -> None:
    with pytest.raises(Missing):
        storage().read("ab" * 16)


def test_a_writer_left_without_commit_leaves_nothing(storage_dir: Path) -> None:
    with storage().writer() as writer:
        writer.write(b"half")

    assert files_in(storage_dir) == []


def test_an_exception_in_the_middle_of_a_write_leaves_nothing(storage_dir: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store(pieces())

    assert files_in(storage_dir) == []


def test_nothing_is_readable_before_commit(storage_dir: Path) -> None:
    with storage().writer() as writer:
        writer.write(b"half")
        assert list(storage().keys_older_than(-1)) == []
        writer.commit()
        assert len(list(storage().keys_older_than(-1))) == 1


def test_abort_after_commit_keeps_the_object() -> None:
    with storage().writer() as writer:
        writer.write(b"whole")
        key = writer.commit().key
    writer.abort()

    with storage().read(key) as reader:
        assert reader.read() == b"whole"


def test_delete_can_be_repeated() -> None:
    key = store(b"x").key

    storage().delete(key)
    storage().delete(key)

    with pytest.raises(Missing):
        storage().read(key)


def test_only_old_objects_are_listed(storage_dir: Path) -> None:
    old, new = store(b"old").key, store(b"new").key
    age(storage_dir / old[:2] / old[2:], 100)

    assert list(storage().keys_older_than(50)) == [old]
    assert sorted(storage().keys_older_than(-1)) == sorted([old, new])


def test_only_old_temporary_files_are_swept(storage_dir: Path) -> None:
    dead, living = storage().writer(), storage().writer()
    dead.write(b"x")
    for path in files_in(storage_dir):
        age(path, 100)
    living_path = storage().writer()

    assert storage().sweep_temporary(50) == 2
    assert len(files_in(storage_dir)) == 1
    for writer in (dead, living, living_path):
        writer.abort()


def test_objects_are_for_their_owner_only(storage_dir: Path) -> None:
    store(b"x")

    (path,) = files_in(storage_dir)
    assert path.stat().st_mode & 0o077 == 0


def test_commit_is_durable_before_it_returns(
    monkeypatch: pytest.MonkeyPatch, storage_dir: Path
) -> None:
    storage()
    steps = []
    fsync, rename = os.fsync, os.rename

    def watched_fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        steps.append(("fsync", path.relative_to(storage_dir).parts))
        fsync(descriptor)

    def watched_rename(source: Path, target: Path) -> None:
        steps.append(("rename", target.relative_to(storage_dir).parts))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched_rename)

    key = store(b"x").key

    assert steps == [
        ("fsync", ("tmp", key)),
        ("rename", (key[:2], key[2:])),
        ("fsync", (key[:2],)),
        ("fsync", ()),
    ]


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_failed_commit_raises_and_leaves_nothing(
    call: str, monkeypatch: pytest.MonkeyPatch, storage_dir: Path
) -> None:
    storage()
    calls = []

    def fail(*_: object) -> None:
        calls.append(call)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)

    with pytest.raises(OSError, match="No space left"):
        store(b"x")
    assert files_in(storage_dir) == []
    assert len(calls) == 1, "a failed fsync must not be tried again"
