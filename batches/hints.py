"""The one place that puts hints in the queue. A hint says "look at the rows"; it may be lost, doubled or late."""

import functools
from typing import Any, Literal

from django.conf import settings
from django.utils import timezone
from django_q.brokers import Broker, get_broker
from django_q.models import OrmQ
from django_q.signing import BadSignature, SignedPackage
from django_q.tasks import async_task

Cluster = Literal["control", "engine"]
Task = Literal["validate_batch", "finalize_batch", "run_turn", "carry_on_act", "sweep", "purge"]

TASKS = "batches.tasks"
# A hint is acknowledged even when its task fails: what must run again is found in the rows. Only a failure is kept.
OPTIONS: dict[str, Any] = {"save": False, "ack_failure": True}


def ring(task: Task, *args: str, cluster: Cluster = "control") -> None:
    """Have `batches.tasks.<task>(*args)` run soon by `cluster`, once the caller's transaction commits.

    One INSERT into the database of the rows themselves: rolled back with them, and failing only as they would.
    A hint that is lost is replaced by the sweep.

    Raises: django.db.Error.
    """
    async_task(f"{TASKS}.{task}", *args, q_options=OPTIONS | {"broker": _broker(cluster)})


def waiting(cluster: Cluster) -> int:
    """Return how many hints of `cluster` nobody has taken yet."""
    return int(_untaken(cluster).count())


def waiting_calls(cluster: Cluster, limit: int) -> set[tuple[str, tuple[str, ...]]]:
    """Return the hints of `cluster` nobody has taken yet, at most `limit`, as (task, arguments)."""
    calls = set()
    for payload in _untaken(cluster).values_list("payload", flat=True)[:limit]:
        try:
            package = SignedPackage.loads(payload)
        except BadSignature:
            continue  # signed with an earlier SECRET_KEY: the cluster drops it
        calls.add((package["func"].removeprefix(f"{TASKS}."), tuple(package["args"])))
    return calls


def queue_name(cluster: Cluster) -> str:
    """Return what django-q2 calls the queue of `cluster`, also the value of Q_CLUSTER_NAME that serves it."""
    return str(settings.Q_CLUSTER["name"]) if cluster == "control" else cluster


def _untaken(cluster: Cluster) -> Any:
    # The queue stamps its rows with the host's clock.
    return OrmQ.objects.filter(key=queue_name(cluster), lock__lte=timezone.now())


@functools.cache
def _broker(cluster: Cluster) -> Broker:
    return get_broker(queue_name(cluster))
