"""The one wall clock. Leases, windows and stamps are compared with the database's time, never with a host's."""

import datetime

from django.db import connection
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


def unix_seconds(moment: datetime.datetime | None) -> int | None:
    """Return whole Unix seconds, the API's only form of time."""
    return None if moment is None else int(moment.timestamp())
