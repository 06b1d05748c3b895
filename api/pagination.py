"""Cursor pages: a list that stays right while rows come and go."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from django.db.models import Q, QuerySet
from django.http import QueryDict

from api.errors import ApiError, echo, invalid_value
from api.resources import Resource

INTEGER = re.compile(r"-?[0-9]+")
DIGITS = 18  # no limit is longer, and int() is slow and then refuses beyond 4300


@dataclasses.dataclass(frozen=True, slots=True)
class PageQuery:
    """Which page: at most `limit` rows after the row `after`, newest first unless `ascending`."""

    limit: int
    after: str | None
    ascending: bool = False


def page_query(params: QueryDict, limits: tuple[int, int], *, ordered: bool = False) -> PageQuery:
    """Read `limit`, `after` and, where the list is `ordered`, `order`. `limits` are default and most.

    Raises ApiError; contract.md 5.2 has its codes and messages.
    """
    order = _once(params, "order") if ordered else None
    if order not in (None, "asc", "desc"):
        raise invalid_value("order", order, ["asc", "desc"])
    return PageQuery(
        _limit(_once(params, "limit"), *limits), _once(params, "after"), order == "asc"
    )


def page(
    rows: QuerySet[Any],
    query: PageQuery,
    resource: Resource,
    represent: Callable[[Any], dict[str, Any]],
) -> dict[str, Any]:
    """Return one page of `rows`: `object`, `data`, `first_id`, `last_id`, `has_more`.

    Raises ApiError when `after` is no id of the resource, NotFound when no row of `rows` has it.
    """
    if query.after is not None:
        rows = rows.filter(_beyond(rows, query, resource))
    order = ("created_at", "pk") if query.ascending else ("-created_at", "-pk")
    found = list(rows.order_by(*order)[: query.limit + 1])
    shown = [represent(row) for row in found[: query.limit]]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(found) > query.limit,
    }


def _beyond(rows: QuerySet[Any], query: PageQuery, resource: Resource) -> Q:
    after = query.after or ""
    if not after.startswith(resource.word):
        raise resource.wrong_prefix(after, "after")
    if not resource.is_id(after):
        raise resource.not_found(after, "after")
    created_at = rows.filter(pk=after).values_list("created_at", flat=True).first()
    if created_at is None:
        raise resource.not_found(after, "after")
    side = "gt" if query.ascending else "lt"
    # The first condition says nothing new; it lets the database start at the right place of its index.
    return Q(**{f"created_at__{side}e": created_at}) & (
        Q(**{f"created_at__{side}": created_at})
        | Q(created_at=created_at, **{f"pk__{side}": after})
    )


def _once(params: QueryDict, name: str) -> str | None:
    values = params.getlist(name)
    if len(values) > 1:
        raise ApiError(f"Invalid '{name}': it is given twice.", code="invalid_value", param=name)
    return values[0] if values else None


def _limit(text: str | None, default: int, most: int) -> int:
    if text is None:
        return default
    if not INTEGER.fullmatch(text):
        raise ApiError(
            f"Invalid type for 'limit': expected an integer, but got '{echo(text)}' instead.",
            code="invalid_type",
            param="limit",
        )
    value = int(text[: DIGITS + 1])
    if value < 1:
        raise _out_of_range("below minimum", ">= 1", text, "integer_below_min_value")
    if value > most:
        raise _out_of_range("above maximum", f"<= {most}", text, "integer_above_max_value")
    return value


def _out_of_range(side: str, bound: str, text: str, code: str) -> ApiError:
    message = (
        f"Invalid 'limit': integer {side} value. "
        f"Expected a value {bound}, but got {echo(text)} instead."
    )
    return ApiError(message, code=code, param="limit")
