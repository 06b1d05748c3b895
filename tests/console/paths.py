"""The paths of the console's pages, once the world is populated."""

from collections.abc import Iterator

from django.contrib import admin
from django.contrib.auth.models import User
from django.urls import reverse

from batches.acts import CANCEL, REQUEUE_CAUSES
from batches.models import TERMINAL
from console.parts import page_of
from tests.console.story import tell
from tests.console.world import first_of

APPS = sorted({model._meta.app_label for model in admin.site._registry})


def common_pages() -> Iterator[str]:
    """Yield the path of every page that is of no app."""
    yield reverse("admin:index")
    yield reverse("admin:password_change")
    yield reverse("admin:auth_user_password_change", args=[first_of(User).pk])
    yield "/"


def pages_of(app: str) -> Iterator[str]:
    """Yield the path of every page of an app that a superuser can open."""
    for model, page in admin.site._registry.items():
        if model._meta.app_label != app:
            continue
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        row = first_of(model)
        yield reverse(f"{name}_changelist")
        yield reverse(f"{name}_changelist") + "?q=nothing"
        yield page_of(row)
        yield page_of(row).replace("/change/", "/history/")
        if "add" in page.grants:
            yield reverse(f"{name}_add")
        if "delete" in page.grants:
            yield page_of(row).replace("/change/", "/delete/")
        for verb in page.verbs:
            yield page_of(row).replace("/change/", f"/do/{verb.slug}/")


def pages_of_batches() -> Iterator[str]:
    """Yield the path of every page that tells the story of a batch, and of what a link from elsewhere narrows."""
    yield reverse("admin:batches_batch_changelist") + "?state=in_progress&failed__gt=0"
    for batch in tell():
        yield page_of(batch)
        lines = page_of(batch).replace("/change/", "/lines/")
        yield lines
        yield f"{lines}?state=failed"
        yield f"{lines}?q=nothing"
        yield f"{lines}?state=completed&from=0.1&back=0.0"
        yield f"{lines}0.0/"
        if batch.status in TERMINAL:
            yield page_of(batch).replace("/change/", "/history/")
            yield page_of(batch).replace("/change/", f"/do/{REQUEUE_CAUSES.slug}/")
        else:
            yield page_of(batch).replace("/change/", f"/do/{CANCEL.slug}/")
