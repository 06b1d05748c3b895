"""The one wall clock. Leases, windows and stamps are compared with the database's time, never with a host's."""

import datetime
from typing import Any

from django.db import connection
from django.db.models import DateTimeField, Func
from django.utils import timezone


def database_now() -> datetime.datetime:
    """Return the database's present time, in UTC.

    Hosts whose clocks differ by hours still agree on who owns a lease. SQLite lives on one host, whose clock it uses.
    """
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row = cursor.fetchone()
    now: datetime.datetime = row[0]
    return now


class DatabaseNow(Func):
    """`database_now` as a column of another query, which spares a round trip. NULL on SQLite: ask the host there."""

    template = "clock_timestamp()"
    output_field = DateTimeField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        return self.as_sql(compiler, connection, template="NULL", **context)


def unix_seconds(moment: datetime.datetime | None) -> int | None:
    """Return whole Unix seconds, the API's only form of time."""
    return None if moment is None else int(moment.timestamp())
