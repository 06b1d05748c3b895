from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, Upstream, simulated
from tests.support.installation import Installation, fresh_database


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database with every table and no row, to copy."""
    directory = tmp_path_factory.mktemp("template")
    with fresh_database(directory) as url:
        Installation(directory, url).manage("migrate", "-v0")
        yield url


@pytest.fixture
def installation(migrated: str, tmp_path: Path) -> Iterator[Installation]:
    """A database and files of the test's own."""
    with fresh_database(tmp_path, migrated) as url:
        yield Installation(tmp_path, url)


@pytest.fixture
def upstream(installation: Installation) -> Iterator[Upstream]:
    with simulated(installation) as upstream:
        yield upstream


@pytest.fixture
def fleet(installation: Installation, upstream: Upstream) -> Fleet:
    return Fleet(installation, upstream)
