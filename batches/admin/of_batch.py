"""Rows that a batch has many of."""

from typing import Any

from django.db.models import QuerySet

from console.pages import Look


class OfBatch(Look):
    """A page of rows of batches, the newest first, found by the batch's whole id: with an index, unlike by search fields."""

    batch_field = "batch"
    search_fields = ("id",)
    search_help_text = "Id of a batch"
    ordering = ("-id",)

    def find(self, rows: QuerySet[Any], text: str) -> QuerySet[Any]:
        return rows.filter(**{self.batch_field: text})
