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
    Batch,
    BatchMinute,
    Engine,
    Host,
    OwnerHour,
    Pace,
    Priority,
    Segment,
    Shard,
    Share,
    Status,
    TrafficSlice,
    Upstream,
)
from config.roles import ROLES
from console import acts
from console.acts import By
from files.content import save_blob, store
from tests.batches.factories import make_upstream, reach, submit
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
    plain.limit(queued_requests=200_000, stored_bytes=None)
    users[0].limit(queued_requests=50_000, stored_bytes=2_000_000)
    _keys(plain, now)
    upstream = make_upstream(name="vllm", served_models=["llama-3.1-8b"], limit=512)
    make_upstream(name=EVIL).pause(f"operator anna: {EVIL}")
    for number, status in enumerate(Status):
        _batch(Owner(plain, users[0]), status, number, upstream)
    _acts()
    _batch(Owner(plain, users[1]), Status.IN_PROGRESS, 3, upstream, description=EVIL)
    _batch(Owner(evil, users[2]), Status.IN_PROGRESS, 4, upstream, description=TURNED)
    paused = _batch(Owner(plain, users[0]), Status.IN_PROGRESS, 5, upstream, description="Nightly")
    paused.pause(actor="operator anna", reason=EVIL)
    _batch(Owner(plain), Status.IN_PROGRESS, 2, upstream).prioritize(Priority.HIGH)
    FileFactory(plain, filename=EVIL)
    FileFactory(Owner(evil, users[2]), filename=LONG)
    _machine(Batch.objects.order_by("pk")[0], upstream, now)
    _traffic(users[0], upstream, now)


def _keys(account: Account, now: datetime.datetime) -> None:
    for name in ("live", "revoked", "expired", EVIL):
        ApiKey.objects.issue(account, name, scopes=["files:read"])
    ApiKey.objects.get(name="revoked").revoke()
    ApiKey.objects.filter(name="expired").update(expires_at=now - HOUR)
    ApiKey.objects.filter(name="live").update(last_used_at=now - HOUR)


def _batch(owner: Owner, status: Status, hours: int, upstream: Upstream, **metadata: str) -> Batch:
    batch = reach(submit(owner, b"{}\n", metadata=metadata or None), status)
    Batch.objects.filter(pk=batch.pk).update(
        created_at=database_now() - hours * HOUR,
        model=EVIL if metadata else "llama-3.1-8b",
        upstream=upstream,
        total=10_107,
        completed=1000 * hours,
        failed=60 * hours,
    )
    return batch


def _machine(batch: Batch, upstream: Upstream, now: datetime.datetime) -> None:
    lease: dict[str, Any] = {"started_at": now - HOUR, "lease_expires_at": now + HOUR}
    Host.objects.create(id="h", name="worker-1", pid=4711, version="0.1.0", slots=2, **lease)
    engine = Engine.objects.create(id="e", host="worker-1", pid=4712, in_flight=480, **lease)
    Share.objects.create(engine=engine, upstream=upstream, wanted=512, slots=480)
    Pace.objects.create(upstream=upstream, model=EVIL, calls=480, found_at=now)
    shard = Shard.objects.create(batch=batch, number=0, first_line=1, lines=1000, start=0, end=10)
    Segment.objects.create(
        shard=shard,
        blob=save_blob(store(b"x")),
        attempt=1,
        output_bytes=1,
        error_bytes=0,
        completed=1,
        failed=0,
    )


def _traffic(user: ExternalUser, upstream: Upstream, now: datetime.datetime) -> None:
    """A day with its tide, and a night without calls."""
    first = now.replace(minute=now.minute // 10 * 10, second=0, microsecond=0)
    hours: dict[datetime.datetime, Counter[str]] = defaultdict(Counter)
    slices = []
    for number in range(144):
        at = first - number * HOUR / 6
        tide = 0 if 60 < number < 70 else round(1000 + 600 * math.sin(number / 18))
        counts = {"completed": tide, "failed": tide // 60, "calls": tide, "latency_2": tide // 2}
        counts |= {"latency_3": tide // 3, "latency_4": tide // (4 + number % 7)}
        slices.append(TrafficSlice(upstream=upstream, model=EVIL, start=at, **counts))
        hours[at.replace(minute=0)].update(counts)
    TrafficSlice.objects.bulk_create(slices)
    owner = {"owner": f"{user.account_id}:{user.pk}", "account": user.account}
    OwnerHour.objects.bulk_create(
        OwnerHour(hour=at, external_user=user, **owner, **counts) for at, counts in hours.items()
    )
    minute = now.replace(second=0, microsecond=0)
    counts = {"completed": 900, "failed": 20, "calls": 1000, "latency_2": 500, "latency_4": 400}
    for batch in Batch.objects.filter(status=Status.IN_PROGRESS)[:2]:
        BatchMinute.objects.create(batch=batch, minute=minute, **counts)


def _acts() -> None:
    anna = By("operator anna", None, "192.0.2.17")
    some = Batch.objects.filter(status__in=(Status.IN_PROGRESS, Status.COMPLETED))
    acts.carry_on(acts.begin(verbs.CANCEL, anna, some.order_by("pk")[:3], reason=EVIL))
    acts.begin(verbs.REQUEUE, anna, Batch.objects.order_by("pk")[:2], reason="still to do")


def first_of(model: type[models.Model]) -> Any:
    return model._default_manager.order_by("pk").first()
