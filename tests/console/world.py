"""A little of everything that the console shows, written by strangers who mean no good."""

import datetime
import math
from collections import Counter, defaultdict
from typing import Any

from django.db import models

from accounts.models import Account, ApiKey, ExternalUser, Owner
from api.clock import database_now
from batches import acts as verbs
from batches.models import (
    TERMINAL,
    Batch,
    Engine,
    Host,
    OwnerHour,
    Pace,
    Priority,
    Shard,
    Share,
    Status,
    TrafficSlice,
    Upstream,
)
from config.roles import ROLES
from console import acts
from console.acts import By
from tests.batches.factories import make_upstream
from tests.console.lives import MODEL, NOW, bring, questions
from tests.console.operators import in_role
from tests.factories import FileFactory

EVIL = "<script>alert(1)</script>"
TURNED = "evil\u202egnp.exe"
LONG = "x" * 255
HOUR = datetime.timedelta(hours=1)


def populate() -> None:
    """At least one row of every model that has a page."""
    now = database_now()
    for role in ROLES:  # which a test that empties the database takes away
        in_role(role)
    plain, evil = (Account.objects.create(name=name) for name in ("acme-prod", EVIL))
    Account.objects.create(name="suspended", is_active=False)
    users = [
        ExternalUser.objects.create(account=account, external_id=external_id)
        for account, external_id in ((plain, "alice"), (plain, EVIL), (evil, TURNED[:100]))
    ]
    plain.limit(queued_requests=20_000, stored_bytes=None)
    users[0].limit(queued_requests=4_000, stored_bytes=5_000_000)
    _keys(plain, now)
    ApiKey.objects.issue(evil, "live")
    upstream = make_upstream(name="vllm", served_models=["llama-3.1-8b"], limit=512)
    make_upstream(name=EVIL).pause(f"operator anna: {EVIL}")
    for number, status in enumerate(Status):
        ago = number * HOUR if status in TERMINAL else NOW
        lines = questions(300 + 110 * number)
        bring(Owner(plain, users[0]), status, upstream, lines, minutes=20 + number, ended=ago)
    _acts()
    _running(Owner(plain, users[1]), 500, upstream, EVIL)
    _running(Owner(evil, users[2]), 800, upstream, TURNED)
    paused = _running(Owner(plain, users[0]), 600, upstream, "Nightly")
    paused.pause(actor="operator anna", reason=EVIL)
    _running(Owner(plain), 1700, upstream, "Catalogue").prioritize(Priority.HIGH)
    FileFactory(plain, filename=EVIL)
    FileFactory(Owner(evil, users[2]), filename=LONG)
    _machine(upstream, now)
    _traffic(users[0], upstream, now)


def _keys(account: Account, now: datetime.datetime) -> None:
    for name in ("live", "revoked", "expired", EVIL):
        ApiKey.objects.issue(account, name, scopes=["files:read"])
    ApiKey.objects.get(name="revoked").revoke()
    ApiKey.objects.filter(name="expired").update(expires_at=now - HOUR)
    ApiKey.objects.filter(name="live").update(last_used_at=now - HOUR)


def _running(owner: Owner, lines: int, upstream: Upstream, description: str) -> Batch:
    content = questions(lines, EVIL if description == EVIL else MODEL)
    metadata = {"description": description}
    minutes = lines // 20
    return bring(owner, Status.IN_PROGRESS, upstream, content, minutes=minutes, metadata=metadata)


def _machine(upstream: Upstream, now: datetime.datetime) -> None:
    """A worker with an engine, which holds about as many lines as it calls."""
    lease: dict[str, Any] = {"started_at": now - HOUR, "lease_expires_at": now + HOUR}
    Host.objects.create(id="h", name="worker-1", pid=4711, version="0.1.0", slots=2, **lease)
    engine = Engine.objects.create(id="e", host="worker-1", pid=4712, in_flight=480, **lease)
    Share.objects.create(engine=engine, upstream=upstream, wanted=512, slots=480)
    Pace.objects.create(upstream=upstream, model=MODEL, calls=480, found_at=now)
    waiting = Shard.objects.filter(batch__in=Batch.objects.running(now), state=Shard.State.WAITING)
    for shard in waiting.order_by("-batch__priority", "pk")[:5]:
        assert shard.claim(engine, HOUR.total_seconds(), now)


def _traffic(user: ExternalUser, upstream: Upstream, now: datetime.datetime) -> None:
    """A day with its tide, and a night without calls; and a month of days."""
    first = now.replace(minute=now.minute // 10 * 10, second=0, microsecond=0)
    hours: dict[datetime.datetime, Counter[str]] = defaultdict(Counter)
    slices = []
    for number in range(144):
        at = first - number * HOUR / 6
        tide = 0 if 60 < number < 70 else round(1000 + 600 * math.sin(number / 18))
        for model, lines in ((MODEL, tide), (EVIL, tide // 9)):
            counts = _counts(lines, 0.2 + 0.06 * math.sin(number / 9))
            slices.append(TrafficSlice(upstream=upstream, model=model, start=at, **counts))
            hours[at.replace(minute=0)].update(counts)
    for day in range(2, 30):
        at = first.replace(minute=0) - 24 * day * HOUR
        hours[at].update(_counts(round(120_000 + 50_000 * math.sin(day)), 0.2))
    TrafficSlice.objects.bulk_create(slices)
    owner = {"owner": f"{user.account_id}:{user.pk}", "account": user.account}
    OwnerHour.objects.bulk_create(
        OwnerHour(hour=at, external_user=user, **owner, **counts) for at, counts in hours.items()
    )


def _counts(lines: int, slow: float) -> dict[str, int]:
    """What so many good lines brought beside, with a share of slow ones."""
    latencies = {"latency_2": lines // 2, "latency_4": round(lines * slow)}
    latencies["latency_3"] = lines - sum(latencies.values())
    failed = lines // 60
    counts = {"completed": lines, "failed": failed, "calls": lines + failed}
    return counts | latencies | {"input_tokens": 41 * lines, "output_tokens": 26 * lines}


def _acts() -> None:
    anna = By("operator anna", None, "192.0.2.17")
    some = Batch.objects.filter(status__in=(Status.IN_PROGRESS, Status.COMPLETED))
    acts.carry_on(acts.begin(verbs.CANCEL, anna, some.order_by("created_at")[:3], reason=EVIL))
    acts.begin(
        verbs.REQUEUE, anna, Batch.objects.filter(status__in=TERMINAL)[:2], reason="still to do"
    )


def first_of(model: type[models.Model]) -> Any:
    return model._default_manager.order_by("pk").first()
