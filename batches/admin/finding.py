"""Find batches by what their callers noted on them."""

from typing import Any

from django.db.models import CharField, Exists, Lookup, OuterRef, QuerySet, Value
from django.db.models.functions import Coalesce

from batches.models import MetadataPair
from console.finding import is_narrowed
from console.pages import begins_with

LOOKED_AT = 2_000  # pairs that begin with a text: the newest of those are found, for no index has all in order
FEW = 500  # batches, of which each is asked for its pairs


@CharField.register_lookup
class Beyond(Lookup):
    """Greater, byte by byte: where the index of values goes on behind a text that a million batches may have."""

    lookup_name = "beyond"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        left, of_left = self.process_lhs(compiler, connection)
        right, of_right = self.process_rhs(compiler, connection)
        # PostgreSQL's as of the operator class that the index has.
        operator = "~>~" if connection.vendor == "postgresql" else ">"
        return f"{left} {operator} {right}", (*of_left, *of_right)


def ways_of_metadata(batches: QuerySet[Any], text: str) -> list[QuerySet[Any, Any]]:
    """The ids and times of those of the batches that have a value, or a pair as `key=value`, the newest first.

    Those with exactly this one, and longer ones: each way is one index's.
    """
    pairs, said = _pairs_of(batches)
    key, is_pair, value = text.partition("=")
    ways = [pairs.filter(**{said: text}), _longer(pairs, said, text)]
    if is_pair:
        of_key = pairs.filter(key=key)
        ways += [of_key.filter(**{said: value}), _longer(of_key, said, value)]
    return [way.order_by("-created_at").values_list("batch", "created_at") for way in ways]


def _pairs_of(batches: QuerySet[Any]) -> tuple[QuerySet[Any], str]:
    """The pairs of these batches, and the field that has their values.

    What all batches say is no way to the few that a filter leaves: of those it is not asked by the index of values.
    """
    pairs: QuerySet[Any] = MetadataPair.objects.order_by()
    if not is_narrowed(batches):
        return pairs, "value"
    batches = batches.order_by()
    few = list(batches.values_list("pk", flat=True)[: FEW + 1])
    if len(few) > FEW:
        return pairs.filter(Exists(batches.filter(pk=OuterRef("batch")))), "value"
    return pairs.filter(batch__in=few).alias(said=Coalesce("value", Value(""))), "said"


def _longer(pairs: QuerySet[Any], said: str, text: str) -> QuerySet[Any]:
    begin = pairs.filter(begins_with(said, text), **{f"{said}__beyond": text})
    return MetadataPair.objects.filter(pk__in=begin.values("pk")[:LOOKED_AT])
