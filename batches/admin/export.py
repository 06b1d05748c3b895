"""The list of batches as a table for spreadsheets: at most as many as one act may have, streamed, and logged."""

import csv
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import transaction
from django.http import HttpRequest, StreamingHttpResponse

from batches.models import Batch
from console import acts
from console.text import csv_cell

AT_ONCE = 500
COLUMNS = (
    "id",
    "account",
    "external_user",
    "status",
    "paused_at",
    "priority",
    "model",
    "endpoint",
    "total",
    "completed",
    "failed",
    "input_tokens",
    "output_tokens",
    "created_at",
    "expires_at",
    "ended_at",
    "attempt",
    "metadata",
)


def export(request: HttpRequest, rows: Any, told: str) -> StreamingHttpResponse:
    """Answer with these batches as CSV. Raises console.acts.TooMany. told: how they were chosen, for the log."""
    found = list(rows.select_related(None).only("pk")[: acts.MOST + 1])
    if len(found) > acts.MOST:
        raise acts.TooMany
    with transaction.atomic():
        acts.record(
            acts.By.request(request),
            "export batches",
            *found,
            outcome="exported",
            parameters={"chosen": told},
        )
    lines = _lines([batch.pk for batch in found])
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="batches.csv"'
    return response


class _Echo:
    """What csv writes to: it hands back the line."""

    def write(self, line: str) -> str:
        return line


def _lines(ids: Sequence[str]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    batches = Batch.objects.select_related("account", "external_user")
    for start in range(0, len(ids), AT_ONCE):
        chunk = ids[start : start + AT_ONCE]
        by_id = batches.in_bulk(chunk)
        for batch in (by_id[pk] for pk in chunk if pk in by_id):
            yield writer.writerow([csv_cell(cell) for cell in row_of(batch)])


def row_of(batch: Batch) -> list[Any]:
    """What the table says of a batch, column by column."""
    told = {
        "account": batch.account.name,
        "external_user": batch.external_user.external_id if batch.external_user else "",
        "priority": batch.get_priority_display(),
        "ended_at": batch.ended_at,
        "metadata": "; ".join(
            f"{key}={value}" for key, value in sorted((batch.metadata or {}).items())
        ),
    }
    values = [told[name] if name in told else getattr(batch, name) for name in COLUMNS]
    return ["" if value is None else _written(value) for value in values]


def _written(value: Any) -> Any:
    return value.isoformat(timespec="seconds") if hasattr(value, "isoformat") else value
