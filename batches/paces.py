"""The pace of each upstream and model, kept over turns, so that an engine need not find it again."""

from collections.abc import Mapping
from typing import Any

from batches.models import Engine, Pace

Place = tuple[int, str]  # an upstream's id, a model


def keep(limits: Mapping[Place, int], now: Any) -> None:
    """Write what an engine found its own calls may be; the others are taken to bring as many."""
    engines = _engines(now)
    Pace.objects.bulk_create(
        [
            Pace(upstream_id=upstream, model=model, calls=limit * engines, found_at=now)
            for (upstream, model), limit in limits.items()
        ],
        update_conflicts=True,
        unique_fields=["upstream", "model"],
        update_fields=["calls", "found_at"],
    )


def portion(place: Place, now: Any) -> float | None:
    """The calls that one engine begins with; None if nobody has found the pace yet."""
    upstream, model = place
    calls = Pace.objects.filter(upstream=upstream, model=model).values_list("calls", flat=True)
    found = calls.first()
    return None if found is None else found / _engines(now)


def _engines(now: Any) -> int:
    return max(1, Engine.objects.alive(now).count())
