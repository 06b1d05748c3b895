"""Find batches by what their callers noted on them."""

from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from batches.models import MetadataPair
from console.finding import is_narrowed
from console.pages import begins_with

LOOKED_AT = 10_000  # pairs that begin with a text: the newest of those are found, for no index has all in order


def ways_of_metadata(batches: QuerySet[Any], text: str) -> list[QuerySet[Any, Any]]:
    """The ids and times of those of the batches that have a value, or a pair as `key=value`, the newest first.

    Those with exactly this one, and longer ones: each way is one index's.
    """
    pairs: QuerySet[Any] = MetadataPair.objects.order_by()
    if is_narrowed(batches):
        pairs = pairs.filter(Exists(batches.order_by().filter(pk=OuterRef("batch"))))
    key, is_pair, value = text.partition("=")
    ways = [pairs.filter(value=text), _longer(pairs, text)]
    if is_pair:
        ways += [pairs.filter(key=key, value=value), _longer(pairs.filter(key=key), value)]
    return [way.order_by("-created_at").values_list("batch", "created_at") for way in ways]


def _longer(pairs: QuerySet[Any], text: str) -> QuerySet[Any]:
    begin = pairs.filter(begins_with("value", text)).exclude(value=text)
    return MetadataPair.objects.filter(pk__in=begin.values("pk")[:LOOKED_AT])
