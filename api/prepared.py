"""Queries that nearly every request asks: Django takes longer to write their SQL than the database to answer it."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


class Prepared(Generic[Row]):
    """A query for one row whose SQL is written once, at its first use.

    build: makes the queryset out of stand-ins for the values, which nothing else in the query equals.
    """

    def __init__(self, build: Callable[..., QuerySet[Row]], *stand_ins: Any) -> None:
        self._build = build
        self._stand_ins = stand_ins

    def first(self, *values: Any) -> Row | None:
        """Return the row for these values, each in the place of its stand-in and as the database has it."""
        queryset, sql, order = self._written
        return next(iter(queryset.raw(sql, [values[place] for place in order])), None)

    @cached_property
    def _written(self) -> tuple[QuerySet[Row], str, list[int]]:
        queryset = self._build(*self._stand_ins)
        sql, parameters = queryset.query.sql_with_params()
        return queryset, sql, [self._stand_ins.index(value) for value in parameters]
