"""Limits that hold across all hosts: each engine may use the slots its share says, and no more.

Water-filling: whoever wants little gets it, the rest is split evenly. A share grows only into slots that
nobody holds, and shrinks only after the engine has shrunk, so that the sum never passes the limit.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from django.db import transaction

from batches.models import Batch, Engine, Share, Upstream

Kind = Literal["batch", "upstream"]
Thing = tuple[Kind, Any]  # ("batch", its id) or ("upstream", its id)
MODELS: dict[Kind, type[Batch] | type[Upstream]] = {"batch": Batch, "upstream": Upstream}
LIMITS: dict[Kind, str] = {"batch": "max_concurrency", "upstream": "limit"}


@dataclasses.dataclass(frozen=True, slots=True)
class Use:
    """What an engine says of a thing: calls it could make at once, and calls it may be making at most."""

    wanted: int
    held: int


def divide(limit: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """Split `limit` over the engines so that nobody gets more than wanted and nobody envies a bigger share."""
    given = dict.fromkeys(wanted, 0)
    left, rest = limit, len(wanted)
    for engine in sorted(wanted, key=lambda name: (wanted[name], name)):
        given[engine] = min(wanted[engine], -(-left // rest))
        left -= given[engine]
        rest -= 1
    return given


def settle(engine: Engine, uses: Mapping[Thing, Use], now: Any) -> dict[Thing, int]:
    """Write what the engine wants and holds, and return how many calls it may have in flight for each thing.

    A thing without a limit is left out. Shares of things not named are given back.
    """
    granted: dict[Thing, int] = {}
    for kind in MODELS:
        mine = {key: use for (of, key), use in uses.items() if of == kind}
        with transaction.atomic():
            for key, slots in _settle_kind(engine, kind, mine, now):
                granted[kind, key] = slots
    return granted


def admit(engine: Engine, thing: Thing, wanted: int, now: Any) -> int | None:
    """The slots the engine gets of a thing it does not use yet; None when that has no limit.

    With 0 it must keep away, and leaves no wish behind that the others would make room for.
    """
    kind, key = thing
    with transaction.atomic():
        slots = dict(_settle_kind(engine, kind, {key: Use(wanted, 0)}, now, forget=False)).get(key)
        if slots == 0:
            engine.shares.filter(**{f"{kind}_id": key}).delete()
    return slots


def _settle_kind(
    engine: Engine, kind: Kind, uses: Mapping[Any, Use], now: Any, *, forget: bool = True
) -> Iterable[tuple[Any, int]]:
    field = f"{kind}_id"
    if forget:
        engine.shares.filter(**{f"{kind}__isnull": False}).exclude(
            **{f"{field}__in": uses}
        ).delete()
    if not uses:
        return []
    # One lock per thing, taken in one order: rivals see each other's shares, never each other's middle.
    things = MODELS[kind].objects.select_for_update(of=("self",)).filter(pk__in=uses)
    limits = dict(things.order_by("pk").values_list("pk", LIMITS[kind]))
    limited = {key: use for key, use in uses.items() if limits.get(key) is not None}
    alive = Engine.objects.alive(now).values("pk")
    shares = Share.objects.filter(engine__in=alive, **{f"{field}__in": limited})
    others: dict[Any, dict[str, Share]] = {key: {} for key in limited}
    own = {}
    for share in shares:
        key = getattr(share, field)
        if share.engine_id == engine.pk:
            own[key] = share
        else:
            others[key][share.engine_id] = share
    granted = []
    for key, use in limited.items():
        granted.append((key, _settle_one(engine, field, key, limits[key], use, own, others[key])))
    return granted


def _settle_one(
    engine: Engine,
    field: str,
    key: Any,
    limit: int,
    use: Use,
    own: Mapping[Any, Share],
    others: Mapping[str, Share],
) -> int:
    wanted = {name: share.wanted for name, share in others.items()} | {engine.pk: use.wanted}
    fair = divide(limit, wanted)[engine.pk]
    free = max(0, limit - sum(share.slots for share in others.values()))
    allowed = min(fair, free)
    # What is written covers what the engine still holds from before, until it has let go of it.
    slots = max(allowed, min(use.held, free))
    share = own.get(key)
    if share is None:
        Share.objects.create(engine=engine, wanted=use.wanted, slots=slots, **{field: key})
    elif (share.wanted, share.slots) != (use.wanted, slots):
        Share.objects.filter(pk=share.pk).update(wanted=use.wanted, slots=slots)
    return allowed
