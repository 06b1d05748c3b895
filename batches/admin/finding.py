"""Find batches by what their callers noted on them."""

from typing import Any

from django.db.models import QuerySet

from batches.models import MetadataPair
from console.pages import begins_with


def ways_of_metadata(text: str) -> list[QuerySet[Any, Any]]:
    """The ids and times of batches with a value, or with a pair as `key=value`.

    Those with exactly this one, the newest first, then longer ones: each way is one index's.
    """
    pairs = MetadataPair.objects.values_list("batch", "created_at")
    key, is_pair, value = text.partition("=")
    ways: list[QuerySet[Any, Any]] = [
        pairs.filter(value=text).order_by("-created_at"),
        pairs.filter(begins_with("value", text)),
    ]
    if is_pair:
        ways.append(pairs.filter(key=key, value=value).order_by("-created_at"))
        ways.append(pairs.filter(begins_with("value", value), key=key))
    return ways
