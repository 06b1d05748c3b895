"""Find rows in more than one way at once.

A search that joins, or that asks for one thing or the other, reads all of a million rows on one database or the other.
So each way is asked apart for its newest rows, all ways in one question, and the list shows those.
"""

from collections.abc import Sequence
from typing import Any

from django.db import connection
from django.db.models import QuerySet

MOST_FOUND = 1000  # rows, the newest of them


def newest(ways: Sequence[QuerySet[Any, Any]]) -> list[Any]:
    """The keys of the newest rows, at most MOST_FOUND, that any way finds. A way has a key and a time to a row, and its order."""
    rows = set(together([way[:MOST_FOUND] for way in ways])) if ways else set()
    ordered = sorted(rows, key=lambda row: (row[1], row[0]), reverse=True)
    return list(dict.fromkeys(key for key, _ in ordered))[:MOST_FOUND]


def together(parts: Sequence[QuerySet[Any, Any]]) -> list[tuple[Any, ...]]:
    """The rows of several questions, asked as one. Each may have its own order and limit, which a union may not."""
    asked = [part.query.sql_with_params() for part in parts]
    apart = [f"SELECT * FROM ({sql}) AS part_{n}" for n, (sql, _) in enumerate(asked)]  # noqa: S608 - Django's own
    with connection.cursor() as cursor:
        values = [value for _, values in asked for value in values]
        cursor.execute(" UNION ALL ".join(apart), values)
        return list(cursor.fetchall())
