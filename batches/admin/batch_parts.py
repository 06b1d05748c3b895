"""What the page of one batch shows, part by part, made ready for its template."""

import dataclasses
import shlex
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.utils import quote
from django.urls import reverse

from batches import speed, timeline
from batches.inspection import Cause
from batches.models import TERMINAL, Batch, Status
from batches.models.shard import Shard
from batches.standing import Holder, reasons
from batches.traffic import Pulse
from console import charts
from console.acts import Verb
from console.parts import EMPTY
from console.text import MINUTE, duration, guess, number, share, visible

REASON_CHARS = 400
LINES = {"done": "completed", "failed": "failed"}  # what the tones of the chart of lines stand for


# How far it is


def figures_of(batch: Any, pulse: Pulse) -> dict[str, str]:
    """A batch from `with_facts` in numbers and words."""
    return {
        "done": number(batch.completed),
        "failed": number(batch.failed),
        "open": number(batch.total - batch.completed - batch.failed),
        "pace": _pace(batch, pulse),
        "time": _time(batch, pulse),
        "window": _window(batch),
        "reasons": "\n".join(visible(reason, REASON_CHARS) for reason in reasons(batch)),
    }


def _pace(batch: Batch, pulse: Pulse) -> str:
    if batch.status != Status.IN_PROGRESS or not pulse.lines_a_second:
        return EMPTY
    pace = pulse.lines_a_second
    if pace < 1:
        return f"{pace * MINUTE:.3g} lines/min"
    return f"{pace:,.1f} lines/s" if pace < 10 else f"{pace:,.0f} lines/s"


def _time(batch: Any, pulse: Pulse) -> str:
    if ended := ended_at(batch):
        return f"took {duration((ended - batch.created_at).total_seconds())}"
    if batch.paused_at is not None:
        return "paused"
    left = speed.seconds_left(batch, {batch.pk: pulse.lines_a_second})
    if batch.status != Status.IN_PROGRESS or left is None:
        return EMPTY
    return f"about {guess(left)}"


def ended_at(batch: Batch) -> Any:
    return getattr(batch, f"{batch.status}_at") if batch.status in TERMINAL else None


def _window(batch: Any) -> str:
    left = (batch.expires_at - batch.seen_at).total_seconds()
    if batch.status in TERMINAL or left <= 0:
        return "closed"
    return f"{duration(left)} left"


PHASES = (  # while it goes on, and else
    ("checking", "checked"),
    ("calling", "called"),
    ("putting together", "put together"),
    ("ending", "ended"),
)
PHASE_OF = {Status.VALIDATING: 0, Status.IN_PROGRESS: 1, Status.FINALIZING: 2, Status.CANCELLING: 2}


def phases_of(batch: Batch) -> list[tuple[str, str]]:
    """How far it has come: what is behind it, what goes on, what is still to come. Each with its class."""
    status = Status(batch.status)
    now = PHASE_OF.get(status, len(PHASES))
    found = []
    for index, (going_on, name) in enumerate(PHASES):
        tone = "past" if index < now else "now" if index == now else "to-come"
        if status == Status.FAILED:
            tone = "bad" if index == 0 else "past" if index == 3 else "to-come"
        is_end = name == "ended" and batch.status in TERMINAL
        told = status.label if is_end else going_on if tone == "now" else name
        found.append((told, f"phase {tone}"))
    return found


# Charts


@dataclasses.dataclass(frozen=True, slots=True)
class Charts:
    lines: charts.Bars
    latencies: charts.Lines | None
    rows: list[tuple[str, int, int, str, str]]  # the same in numbers


def charts_of(pulse: Pulse) -> Charts | None:
    if not pulse.points:
        return None
    labels = [f"{point.start:%H:%M}" for point in pulse.points]
    step = duration(pulse.step.total_seconds())
    columns = [
        charts.Column(label, {"done": point.completed, "failed": point.failed})
        for label, point in zip(labels, pulse.points, strict=True)
    ]
    series = [
        charts.Series("median", [point.median for point in pulse.points]),
        charts.Series("95th percentile", [point.slow for point in pulse.points], "second"),
    ]
    has_latencies = any(point.median is not None for point in pulse.points)
    rows = [
        (label, point.completed, point.failed, _latency(point.median), _latency(point.slow))
        for label, point in zip(labels, pulse.points, strict=True)
    ]
    return Charts(
        charts.bars("Lines a minute" if step == "1 min" else f"Lines in {step}", columns, LINES),
        charts.lines("Latency", labels, series, _latency) if has_latencies else None,
        rows,
    )


def _latency(milliseconds: float | None) -> str:
    return EMPTY if milliseconds is None else duration(milliseconds / 1000)


# Errors


@dataclasses.dataclass(frozen=True, slots=True)
class CauseRow:
    cause: str
    lines: int
    share: str
    sample: str
    lines_url: str
    requeue_url: str


def cause_rows(batch: Batch, causes: Iterable[Cause], urls: dict[str, str]) -> list[CauseRow]:
    """A row for each cause. urls: of "lines", and of the question whether to "requeue" if that is allowed."""
    return [
        CauseRow(
            one.cause,
            one.lines,
            share(one.lines, batch.total),
            one.sample,
            f"{urls['lines']}?{urlencode({'cause': one.cause})}",
            urls["requeue"] and f"{urls['requeue']}?{urlencode({'causes': one.cause})}",
        )
        for one in causes
    ]


# What happened


@dataclasses.dataclass(frozen=True, slots=True)
class EventRow:
    event: timeline.Event
    tone: str
    gap: str
    log_url: str


EVENT_TONES = {
    Status.COMPLETED: "good",
    Status.FAILED: "bad",
    Status.EXPIRED: "bad",
    Status.CANCELLED: "bad",
}


def event_rows(events: Iterable[timeline.Event], may_see_log: bool) -> list[EventRow]:
    """Rows for the timeline. Who may not read the operator log sees what changed the state, and nothing else of it."""
    return [
        EventRow(
            event,
            EVENT_TONES.get(event.status, "") if event.status else "act",
            "" if event.since is None else duration(max(0.0, event.since.total_seconds())),
            reverse("admin:console_act_change", args=[event.act_id])
            if event.act_id and may_see_log
            else "",
        )
        for event in events
        if event.status or may_see_log
    ]


# Who has it, and what it is made of


@dataclasses.dataclass(frozen=True, slots=True)
class HolderRow:
    holder: Holder
    told: str
    tone: str


def holder_rows(holders: Iterable[Holder], now: Any) -> list[HolderRow]:
    rows = []
    for one in holders:
        if one.state != Shard.State.RUNNING:
            rows.append(HolderRow(one, str(one.state), "idle"))
        elif one.lapses_at is not None and one.lapses_at < now:
            rows.append(HolderRow(one, "lapsed", "warn"))
        else:
            rows.append(HolderRow(one, "running", "live"))
    return rows


@dataclasses.dataclass(frozen=True, slots=True)
class FileRow:
    kind: str
    file_id: str
    bytes: int | None  # None: it is gone
    page: str
    download: str


def file_rows(batch: Any, may_read: bool) -> list[FileRow]:
    """The files that it names, whether they are still there or not."""
    rows = []
    for kind in ("input", "output", "error"):
        file_id, known = getattr(batch, f"{kind}_file_id"), getattr(batch, f"{kind}_known")
        if not file_id:
            continue
        page = there = ""
        if known is not None:  # else the id may be any text, of which no address can be made
            page = reverse("admin:files_file_change", args=[quote(file_id)])
            there = reverse("admin:files_file_content", args=[quote(file_id)]) if may_read else ""
        rows.append(FileRow(kind, file_id, known, page, there))
    return rows


# The same by other means

COMMANDS = {
    "cancel-batches": "cancel_batch {id}",
    "pause-batches": "pause_batch {id}",
    "resume-batches": "resume_batch {id}",
    "prioritize-batches": "prioritize_batch {id} --priority high",
    "expire-batches": "expire_batches {id}",
    "requeue-failed-lines": "requeue_batch {id}",
    "requeue-lines-by-cause": "requeue_batch {id} --cause {cause}",
    "requeue-chosen-lines": "requeue_batch {id} --lines 7,20-35",
    "requeue-all-lines": "requeue_batch {id} --all",
}


def commands(
    batch: Batch, verbs: Iterable[Verb], causes: list[CauseRow], api: str
) -> list[tuple[str, str]]:
    """What to type instead of pressing the buttons, and instead of looking here: (what it does, the command)."""
    cause = shlex.quote(causes[0].cause) if causes else "CAUSE"
    found = [
        ("Look", f"./run manage show_batch {batch.pk}"),
        ("Look, by the API", _curl(batch, api)),
    ]
    for verb in verbs:
        if verb.slug == "cancel-batches":
            found.append(("Cancel, by the API", _curl(batch, api, cancel=True)))
        if command := COMMANDS.get(verb.slug):
            told = command.format(id=batch.pk, cause=cause)
            # Refused as it stands: why is for whoever pastes it to say.
            found.append((verb.button, f"./run manage {told} --reason"))
    return found


def _curl(batch: Batch, api: str, *, cancel: bool = False) -> str:
    user = batch.external_user
    behalf = f"-H {shlex.quote(f'X-On-Behalf-Of: {user.external_id}')} " if user else ""
    method, path = ("-X POST ", "/cancel") if cancel else ("", "")
    key = '-H "Authorization: Bearer $API_KEY"'
    return f"curl {method}{key} {behalf}{api}/batches/{batch.pk}{path}"
