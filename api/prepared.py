"""Statements that run all the time: Django takes longer to write their SQL than the database to run it.

A statement is made of an ordinary queryset whose values are `Given`s, written once, at its first use, and run
with other values each time.
"""

import abc
import datetime
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection, models
from django.db.models import Expression, Field, Model, QuerySet
from django.db.models.sql import DeleteQuery, UpdateQuery

Row = TypeVar("Row", bound=Model)
Moment = datetime.datetime | Expression  # a time, or the place of one
PLAIN = (models.IntegerField, models.CharField, models.ForeignKey)
PLAIN_TYPES = (int, str)
Statement = tuple[str, Sequence[Any]]  # SQL and its parameters, the Givens among them


class Given(Expression):
    """The place of a value that each run names. `kind`: needed where arithmetic or a date must know it."""

    def __init__(self, name: str, kind: "Field[Any, Any] | None" = None) -> None:
        super().__init__(output_field=kind)
        self.name = name
        self.kind = kind
        # The database takes numbers and texts as they are, and most values are.
        self._is_plain = isinstance(kind, PLAIN)

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", [self]

    def of(self, values: dict[str, Any]) -> Any:
        value = values[self.name]
        # None is NULL, also where the field would make JSON's null of it.
        if value is None or self.kind is None or (self._is_plain and type(value) in PLAIN_TYPES):
            return value
        return self.kind.get_db_prep_value(value, connection)


class _Prepared(abc.ABC):
    @cached_property
    def _statement(self) -> Statement:
        return self._write()

    @abc.abstractmethod
    def _write(self) -> Statement:
        """Write the statement, as its kind is written."""

    def _bind(self, values: dict[str, Any]) -> tuple[str, list[Any]]:
        sql, parameters = self._statement
        return sql, [each.of(values) if isinstance(each, Given) else each for each in parameters]


class Prepared(_Prepared, Generic[Row]):
    """A query."""

    def __init__(self, build: Callable[[], QuerySet[Row]]) -> None:
        self._build = build

    @cached_property
    def _queryset(self) -> QuerySet[Row]:
        return self._build()

    def _write(self) -> Statement:
        return self._queryset.query.sql_with_params()

    def first(self, **values: Any) -> Row | None:
        """Return the first row as an object."""
        return next(iter(self._queryset.raw(*self._bind(values))), None)

    def all(self, **values: Any) -> list[Row]:
        """Return every row as an object."""
        return list(self._queryset.raw(*self._bind(values)))

    def rows(self, **values: Any) -> list[tuple[Any, ...]]:
        """Return every row, its columns as the database has them; `as_moment` makes a time of one."""
        with connection.cursor() as cursor:
            cursor.execute(*self._bind(values))
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


class _PreparedChange(_Prepared):
    def run(self, **values: Any) -> int:
        """Run it; return how many rows it changed."""
        with connection.cursor() as cursor:
            cursor.execute(*self._bind(values))
            return int(cursor.rowcount)


class PreparedUpdate(_PreparedChange):
    """An UPDATE of the rows of a queryset."""

    def __init__(self, build: Callable[[], QuerySet[Any]], **changes: Any) -> None:
        self._build = build
        self._changes = changes

    def _write(self) -> Statement:
        query: Any = self._build().query.chain(UpdateQuery)
        query.add_update_values(self._changes)
        statement: Statement = query.get_compiler(DEFAULT_DB_ALIAS).as_sql()
        return statement


class PreparedDelete(_PreparedChange):
    """A DELETE of the rows of a queryset, for models that nothing refers to."""

    def __init__(self, build: Callable[[], QuerySet[Any]]) -> None:
        self._build = build

    def _write(self) -> Statement:
        query: Any = self._build().query.chain(DeleteQuery)
        statement: Statement = query.get_compiler(DEFAULT_DB_ALIAS).as_sql()
        return statement


class PreparedInsert(_PreparedChange):
    """An INSERT of one row with these fields; the others must be left to the database."""

    def __init__(self, model: type[Model], fields: Sequence[str]) -> None:
        self._model = model
        self._fields = fields

    def _write(self) -> Statement:
        return _insert(self._model, self._fields)


class PreparedAddition(_PreparedChange):
    """An INSERT of a row, or, where there is one with the same key, the addition of its numbers to that one.

    key: fields of a unique constraint. sums: the numbers. beside: fields that are written with a new row only.
    """

    def __init__(
        self,
        model: type[Model],
        key: Sequence[str],
        sums: Sequence[str],
        beside: Sequence[str] = (),
    ) -> None:
        self._model = model
        self._key = key
        self._sums = sums
        self._beside = beside

    def _write(self) -> Statement:
        insert, places = _insert(self._model, (*self._key, *self._sums, *self._beside))
        table = connection.ops.quote_name(self._model._meta.db_table)
        sums = ", ".join(
            f"{name} = {table}.{name} + excluded.{name}" for name in _columns(self._sums)
        )
        key = ", ".join(_columns(self._key))
        return f"{insert} ON CONFLICT ({key}) DO UPDATE SET {sums}", places


def _insert(model: type[Model], names: Sequence[str]) -> Statement:
    fields = {field.attname: field for field in model._meta.concrete_fields}
    table = connection.ops.quote_name(model._meta.db_table)
    places = ", ".join(["%s"] * len(names))
    sql = f"INSERT INTO {table} ({', '.join(_columns(names))}) VALUES ({places})"  # noqa: S608 - our names
    return sql, [Given(name, fields[name]) for name in names]


def _columns(names: Sequence[str]) -> list[str]:
    # Our models name no column otherwise than its attribute.
    return [connection.ops.quote_name(name) for name in names]


def as_moment(value: Any) -> datetime.datetime:
    """Return the time that a column of `rows` holds. SQLite knows no zones, and has texts for what it computed."""
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime.fromisoformat(value)
    moment: datetime.datetime = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
    return moment
