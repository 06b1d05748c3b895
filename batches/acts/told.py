"""What the confirm page of an act on batches tells: how much of what, whose, and what will be skipped and why."""

from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum

from batches.models import TERMINAL, Status
from console.acts import Preview

STOPPABLE = (Status.VALIDATING, Status.IN_PROGRESS)  # with lines that may still be called
DONE = F("completed") + F("failed")


def told(
    batches: QuerySet[Any],
    possible: Q,
    sums: Mapping[str, Any],
    why_not: Callable[[Status], str],
    *,
    unless: Mapping[str, Q] | None = None,
    rare: Mapping[str, Q] | None = None,
) -> Preview:
    """Sums over the batches that can be acted on, whose they are, and how many others there are and why not.

    unless: why some of the possible ones are skipped all the same; of two reasons the first counts.
    rare: kinds of batches worth a word when there are any.
    """
    able, skips = Q(), {}
    for why, condition in (unless or {}).items():
        skips[why] = able & condition
        able = able & ~condition
    asked: dict[str, Any] = {
        f"sum_{n}": Sum(of, filter=able or None, default=0) for n, of in enumerate(sums.values())
    }
    asked |= {f"skip_{n}": Count("pk", filter=of) for n, of in enumerate(skips.values())}
    asked |= {
        f"rare_{n}": Count("pk", filter=able & of) for n, of in enumerate((rare or {}).values())
    }
    plain = batches.order_by()
    found = plain.filter(possible).aggregate(**asked) if asked else {}
    others = plain.exclude(possible).values_list("status").annotate(count=Count("pk"))
    of_kind = {name: found[f"rare_{n}"] for n, name in enumerate(rare or {})}
    skipped = {why: found[f"skip_{n}"] for n, why in enumerate(skips)}
    skipped |= {f"{Status(status).label}: {why_not(Status(status))}": n for status, n in others}
    affected: Any = plain.filter(possible & able)
    return Preview(
        sums={name: found[f"sum_{n}"] for n, name in enumerate(sums)} | _some(of_kind),
        owners=affected.owners(),
        skipped=_some(skipped),
    )


def ended_or(status: Status, otherwise: str) -> str:
    """Why what still runs is needed for an act: it has ended, or `otherwise`."""
    return "it has ended" if status in TERMINAL else otherwise


def _some(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
