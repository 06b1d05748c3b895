from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installation import Installation, fresh_database


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with fresh_database(tmp_path_factory.mktemp("database")) as url:
        yield url


@pytest.fixture(scope="module")
def migrated(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    Installation(tmp_path_factory.mktemp("migration"), database_url).manage("migrate", "-v0")
    return database_url


@pytest.fixture
def installation(migrated: str, tmp_path: Path) -> Installation:
    """The module's database with an empty queue and no batches, and files of the test's own."""
    installation = Installation(tmp_path, migrated)
    for table in ("django_q_ormq", "django_q_schedule", "batches_batch", "batches_host"):
        installation.execute(f"DELETE FROM {table}")
    return installation
