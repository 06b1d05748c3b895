"""How often a login may fail. Guessing gets slow at once, for one name and for one caller with many names.

The count is in the database, so that it holds over all web processes and hosts.
"""

import datetime
import hashlib
import math

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.db.models import QuerySet

from api.clock import database_now
from console.models import LoginFailure


def begin(username: str, origin: str) -> int:
    """Count a try; returns 0 when it may go on, else how many seconds to wait.

    The try counts as a failure until `succeeded` takes it back, so that of many at once only as many go on
    as are allowed. A try that must wait is not counted: waiting ends, however often somebody asks.
    """
    digest = _digest(username)
    wait = _wait(digest, origin, others=0)
    if wait:
        return wait
    mine = LoginFailure.objects.create(name_digest=digest, origin=origin)
    wait = _wait(digest, origin, others=1)
    if wait:
        mine.delete()
    return wait


def succeeded(username: str, origin: str) -> None:
    """Forget what this name failed with from there."""
    LoginFailure.objects.filter(name_digest=_digest(username), origin=origin).delete()


def purge() -> int:
    """Remove failures that count no more, and sessions that are over; returns how many failures."""
    SessionStore.clear_expired()
    old = LoginFailure.objects.filter(at__lt=LoginFailure.since(settings.LOGIN_LOCK_SECONDS))
    return old.delete()[0]


def _wait(digest: str, origin: str, others: int) -> int:
    """Return the longer of the two waits; `others` is 1 when the try itself is among the rows."""
    from_there = LoginFailure.objects.filter(
        origin=origin, at__gt=LoginFailure.since(settings.LOGIN_LOCK_SECONDS)
    )
    of_the_pair = _until(from_there.filter(name_digest=digest), settings.LOGIN_FAILURES + others)
    of_all = _until(from_there, settings.LOGIN_FAILURES_OF_ADDRESS + others)
    return max(of_the_pair, of_all)


def _until(failures: QuerySet[LoginFailure], most: int) -> int:
    """Return in how many seconds there are fewer than `most`: when the one that fills them up is old enough."""
    times = list(failures.order_by("-at").values_list("at", flat=True)[:most])
    if len(times) < most:
        return 0
    end = times[-1] + datetime.timedelta(seconds=settings.LOGIN_LOCK_SECONDS)
    return max(1, math.ceil((end - database_now()).total_seconds()))


def _digest(username: str) -> str:
    return hashlib.sha256(username.encode(errors="backslashreplace")).hexdigest()
