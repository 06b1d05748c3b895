"""The page of one batch: how far it is, what hurts, why it waits, what happened, and what can be done about it."""

from typing import Any

from django.db.models import OuterRef, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from accounts.models import KEY_PREFIX
from batches import acts, inspection, looks, standing, timeline, traffic
from batches.admin import batch_parts as parts
from batches.admin.graphs import list_url
from batches.admin.lines_page import LinesPage
from batches.admin.status import pause_of, priority_of, progress_of, state_of
from batches.models import TERMINAL, Batch, Status
from console.acts import By
from console.parts import badge, in_a_row, page_of
from console.text import visible
from files.models import File

SAMPLES = 10  # causes that are shown with what a line was told
HOLDERS = 12
ERRORS = 20  # of the input file
METADATA_CHARS = 300
API_PATH = "/api/v1/llm"


class BatchPage(LinesPage):
    """What one batch shows; the list is a subclass."""

    change_form_template = "batches/batch.html"
    records = [looks.READ_LINE, looks.READ_ERRORS]

    def get_fieldsets(self, request: HttpRequest, obj: Batch | None = None) -> Any:
        return []  # the template has a form of its own

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """The batch, with all that its page asks of other rows of one kind each, in one query."""
        rows = standing.with_facts(self.get_queryset(request))
        files = {
            f"{kind}_known": Subquery(
                File.objects.filter(pk=OuterRef(f"{kind}_file_id")).values("bytes")
            )
            for kind in ("input", "output", "error")
        }
        rows = rows.select_related("account", "external_user", "upstream").annotate(
            has_read_errors=looks.has_read_errors(By.request(request)), **files
        )
        return rows.filter(pk=object_id.replace("\x00", "")).first()  # PostgreSQL takes no NUL

    def shown_of(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        batch, user = row, request.user
        may_read, may_see_log = (
            user.has_perm("batches.view_content"),
            user.has_perm("console.view_act"),
        )
        pulse = traffic.pulse(batch, batch.seen_at)
        verbs = self.verbs_for(request, batch)
        causes = self._causes(request, batch, may_read)
        api = f"{request.scheme}://{request.get_host()}{API_PATH}"
        return {
            "batch": batch,
            "figures": parts.figures_of(batch, pulse),
            "phases": parts.phases_of(batch),
            "progress": progress_of(batch),
            "badges": _badges(batch),
            "lines_url": self._url("lines", batch),
            "shards_url": f"{reverse('admin:batches_shard_changelist')}?q={batch.pk}",
            "key_url": _key_url(batch) if user.has_perm("accounts.view_apikey") else "",
            "is_active": batch.status not in TERMINAL,
            "charts": parts.charts_of(pulse),
            "causes": causes,
            "refusals": (batch.errors or [])[:ERRORS],
            "refusals_more": max(0, len(batch.errors or []) - ERRORS),
            "may_read": may_read,
            "company": self._company(batch),
            "events": parts.event_rows(timeline.of(batch), may_see_log),
            "holders": parts.holder_rows(self._holders(batch), batch.seen_at),
            "files": parts.file_rows(batch, may_read),
            "metadata": [
                (visible(name, 64), visible(value, METADATA_CHARS))
                for name, value in (batch.metadata or {}).items()
            ],
            "commands": parts.commands(batch, verbs, causes, api),
        }

    def _company(self, batch: Any) -> standing.Standing | None:
        return standing.explain(batch) if batch.status == Status.IN_PROGRESS else None

    def _holders(self, batch: Batch) -> list[standing.Holder]:
        return [] if batch.status in TERMINAL else standing.holders(batch, HOLDERS)

    def _causes(self, request: HttpRequest, batch: Any, may_read: bool) -> list[parts.CauseRow]:
        """Why lines failed. What they were told is content, and a look at it is noted; our own words are not."""
        if not batch.failed:
            return []
        found = inspection.causes(batch, SAMPLES)
        if may_read and not batch.has_read_errors and any(one.is_told for one in found):
            looks.at_errors(By.request(request), batch, batch.seen_at)
        if not may_read:
            found = [one.without_content() for one in found]
        may_requeue = acts.REQUEUE_CAUSES in self.verbs_for(request, batch)
        slug = acts.REQUEUE_CAUSES.slug
        requeue = page_of(batch).replace("/change/", f"/do/{slug}/") if may_requeue else ""
        return parts.cause_rows(
            batch, found, {"lines": self._url("lines", batch), "requeue": requeue}
        )


def _key_url(batch: Batch) -> str:
    """Where the key is that it was made with; "" for a command, which needs none."""
    is_key = batch.created_by.startswith(KEY_PREFIX)
    return list_url("accounts_apikey", q=batch.created_by) if is_key else ""


def _badges(batch: Batch) -> SafeString:
    badges = [badge(*state_of(batch))]
    if paused := pause_of(batch):
        badges.append(badge("paused", "warn", paused))
    if priority := priority_of(batch):
        badges.append(badge(priority))
    return in_a_row(*badges)
