"""Find rows in more than one way at once.

A search that joins, or that asks for one thing or the other, reads all of a million rows on one database or the other.
So each way is asked apart for its newest rows, all ways in one question, and the list shows those.
"""

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet

from console.text import number

MOST_FOUND = 1000  # rows, the newest of them


def among(rows: QuerySet[Any], ways: Sequence[QuerySet[Any, Any]], cut: str = "") -> QuerySet[Any]:
    """Of these rows the newest that any way finds, at most MOST_FOUND.

    `cut` of the result says what was left out, in words: that there are newer and older ones, or what the caller
    says of its ways. A way has a key and a time to a row, and its order. To find what a filter leaves, it asks among what that left.
    """
    found = set(together([way[: MOST_FOUND + 1] for way in ways]))
    ordered = sorted(found, key=lambda row: (row[1], row[0]), reverse=True)
    keys = list(dict.fromkeys(key for key, _ in ordered))
    chosen: Any = rows.filter(pk__in=keys[:MOST_FOUND])
    newest = f"only the newest {number(MOST_FOUND)}" if len(keys) > MOST_FOUND else ""
    chosen.cut = "; ".join(filter(None, (newest, cut)))
    return chosen  # type: ignore[no-any-return]


def is_narrowed(rows: QuerySet[Any]) -> bool:
    """Whether any condition holds rows back."""
    return bool(rows.query.where)


def together(parts: Sequence[QuerySet[Any, Any]]) -> list[tuple[Any, ...]]:
    """The rows of several questions, asked as one. Each may have its own order and limit, which a union may not."""
    asked = [sql for part in parts if (sql := _sql(part))]
    if not asked:
        return []
    apart = [f"SELECT * FROM ({sql}) AS part_{n}" for n, (sql, _) in enumerate(asked)]  # noqa: S608 - Django's own
    with connection.cursor() as cursor:
        values = [value for _, values in asked for value in values]
        cursor.execute(" UNION ALL ".join(apart), values)
        return list(cursor.fetchall())


def _sql(part: QuerySet[Any, Any]) -> tuple[str, Sequence[Any]] | None:
    """None for what Django knows to be empty without asking."""
    try:
        return part.query.sql_with_params()
    except EmptyResultSet:
        return None
