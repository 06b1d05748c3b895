"""Pages whose rows come with the time they were read at, which spares a question."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from api.clock import DatabaseNow
from console.pages import Page


class Timed(Page):
    """`seen_at` as of `Page`, by the query of the rows itself. Not for lists that Django has to make distinct."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(asked_at=DatabaseNow())
        return rows

    def prepare(self, rows: Sequence[Any]) -> None:
        for row in rows:
            row.seen_at = row.asked_at or timezone.now()
