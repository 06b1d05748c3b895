"""Open every page of the console as a superuser, and say what each costs: run as a module inside an installation.

Prints JSON: for each page, by its name, how many queries, milliseconds of SQL, milliseconds in all; the best of ROUNDS.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import django

django.setup()

from django.contrib import admin  # noqa: E402 - after the settings
from django.contrib.admin.utils import quote  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import NoReverseMatch, reverse  # noqa: E402

from batches.models import Batch  # noqa: E402
from console.parts import page_of  # noqa: E402

ROUNDS = 3
OF_BATCHES = {  # what the list of batches can be asked
    **{
        f"state {name}": f"state={name}"
        for name in ("active", "paused", "failures", "completed", "failed", "cancelled")
    },
    "large account": "account=account-1",
    "small account": "account=account-7",
    "large user": "account=account-1&user=user-1",
    "user anywhere": "user=user-1",
    "model": "model=llama-3.1-8b",
    "rare model": "model=rare",
    "endpoint": "endpoint=/v1/embeddings",
    "failures": "failures=yes",
    "created": "created_from=2020-01-01&created_to=2100-01-01",
    "created long ago": "created_to=2020-01-01",
    "large account, failed": "account=account-1&state=failed",
    "search id": "q=batch_0000",
    "search any id": "q=batch_",
    "search user": "q=user-12",
    "search large account": "q=account-1",
    "search metadata": "q=project=p7",
    "search metadata of all": "q=Nightly",
    "search large account, active": "q=account-1&state=active",
    "search metadata of all, active": "q=Nightly&state=active",
    "user anywhere, failed": "user=user-1&state=failed",
    "search nothing": "q=nobody",
    "oldest first": "o=7",
    "last page": "p=200",
    "last page of active": "state=active&p=4",
    "last page of an account": "account=account-1&p=200",
}
OF_ONE = ("lines", "history")  # further addresses of a batch


def pages() -> Iterator[tuple[str, str]]:
    """Every page's name and path."""
    yield "overview", reverse("admin:index")
    batches = reverse("admin:batches_batch_changelist")
    for name, query in OF_BATCHES.items():
        yield f"batches: {name}", f"{batches}?{query}"
    newest: Any = Batch.objects.order_by("-created_at").first()
    sample = Batch.objects.order_by("-created_at").values_list("pk", flat=True)[:50]
    live = "&".join(f"row={pk}" for pk in sample)
    yield "batches: 50 live rows", f"{reverse('admin:batches_batch_live')}?{live}"
    yield "batches: newest", page_of(newest)
    for name in OF_ONE:
        try:
            yield (
                f"batches: {name} of newest",
                reverse(f"admin:batches_batch_{name}", args=[quote(newest.pk)]),
            )
        except NoReverseMatch:
            continue
    for model, page in admin.site._registry.items():
        yield from _of_model(model, page)


def _of_model(model: Any, page: Any) -> Iterator[tuple[str, str]]:
    options = model._meta
    path = reverse(f"admin:{options.app_label}_{options.model_name}_changelist")
    name = str(options.verbose_name_plural)
    yield f"{name}", path
    yield f"{name}: search", f"{path}?q=user-12"
    yield f"{name}: last page", f"{path}?p=200"
    row = model._default_manager.order_by("-pk").first()
    if row is not None:
        yield f"{name}: one", page_of(row)
        for verb in page.verbs:
            yield f"{name}: {verb.name}", page_of(row).replace("/change/", f"/do/{verb.slug}/")


class Meter:
    """Counts queries and how long they take, until their rows are fetched."""

    def __init__(self) -> None:
        self.queries, self.seconds = 0, 0.0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        started = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.seconds += time.perf_counter() - started
            self.queries += 1


def cost(client: Client, path: str) -> tuple[int, float, float]:
    """Queries, milliseconds of SQL, milliseconds in all."""
    meter = Meter()
    started = time.perf_counter()
    with connection.execute_wrapper(meter):
        answer = client.get(path)
    assert answer.status_code in (200, 302, 403), (path, answer.status_code)
    return meter.queries, meter.seconds * 1000, (time.perf_counter() - started) * 1000


def main() -> None:
    client = Client()
    client.force_login(User.objects.get(username="bench"))
    found = {}
    for name, path in pages():
        rounds = [cost(client, path) for _ in range(ROUNDS)]
        found[name] = [min(one[n] for one in rounds) for n in range(3)]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
