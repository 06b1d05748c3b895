"""Workers as real processes, the same ones as in tests/e2e."""

from tests.e2e.conftest import fleet, installation, migrated, upstream

__all__ = ["fleet", "installation", "migrated", "upstream"]
