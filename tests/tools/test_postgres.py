"""A PostgreSQL server of our own runs for as long as it is asked to, and leaves nothing."""

import tempfile
from pathlib import Path

import psycopg
import pytest

from tools import postgres
from tools.postgres import Absent, temporary_postgres


def test_server_answers_within_the_block_and_is_gone_after_it(tmp_path, monkeypatch):
    try:
        postgres._find_binaries()
    except Absent as reason:
        pytest.skip(str(reason))

    with temporary_postgres() as url:
        with psycopg.connect(url) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
        directory = Path(row[0])
        assert directory.is_dir()

    assert not directory.parent.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=5)


def test_machine_without_postgres_is_told_what_to_do(monkeypatch):
    def nothing(self, pattern):
        return iter(())

    monkeypatch.setattr(Path, "glob", nothing)
    monkeypatch.setattr(postgres.shutil, "which", lambda name: None)

    with pytest.raises(Absent, match="install PostgreSQL"), temporary_postgres():
        pass


def test_server_that_does_not_start_leaves_no_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tmp_path.chmod(0o755)
    monkeypatch.setitem(postgres._SETTINGS, "max_connections", "nonsense")
    try:
        postgres._find_binaries()
    except Absent as reason:
        pytest.skip(str(reason))

    with pytest.raises(postgres.Failed, match=r"initdb|did not start"), temporary_postgres():
        pass

    assert list(tmp_path.glob("longshore-*")) == []
