"""What an operator should see to, and how: told from what the overview has found, and from the disks of this host."""

import dataclasses
import shutil
from pathlib import Path
from typing import Literal

from django.conf import settings

from batches.hints import TASKS
from batches.models import Upstream
from batches.overview import FailedTasks, Work, Worker
from batches.upstreams import is_refused
from console.text import number, plural

DISK_FULL = 0.85
START_WORKER = "./run manage runworker"
About = Literal["", "workers", "upstreams", "batches"]


@dataclasses.dataclass(frozen=True, slots=True)
class Trouble:
    """Something that hurts, and what to do about it.

    about: whose page says more; row: which of them, when it is one. command: what does it in a shell.
    """

    text: str
    advice: str
    about: About = ""
    row: int | None = None
    command: str = ""


def troubles(work: Work, upstreams: list[Upstream], workers: list[Worker]) -> list[Trouble]:
    return [
        *_of_workers(work, workers),
        *_of_upstreams(upstreams),
        *_of_tasks(work.failed),
        *_of_disks(),
    ]


def _of_workers(work: Work, workers: list[Worker]) -> list[Trouble]:
    hosts = [worker for worker in workers if worker.kind == "host"]
    alive = [host for host in hosts if host.alive]
    found = []
    if not alive:
        waits = f", and {plural(work.active, 'batch waits', 'batches wait')}" if work.active else ""
        text = f"No worker is running{waits}."
        found.append(Trouble(text, "Start one:", "workers", command=START_WORKER))
    found += [
        Trouble(
            f"The worker {host.name} ({host.pid}) has not been heard of since "
            f"{host.heard_at:%H:%M:%S} UTC.",
            "Its lines go to the others by themselves. Look at that host, and start it again.",
            "workers",
        )
        for host in hosts
        if not host.alive
    ]
    versions = {host.version for host in alive} | {settings.VERSION}
    if len(versions) > 1:
        text = f"Web server and workers run different versions: {', '.join(sorted(versions))}."
        found.append(Trouble(text, "Bring all to one version, and restart them.", "workers"))
    return found


def _of_upstreams(upstreams: list[Upstream]) -> list[Trouble]:
    if not upstreams:
        text = "There is no upstream, so no batch can run."
        return [Trouble(text, "Add one: the address of a model server.", "upstreams")]
    found = []
    for upstream in upstreams:
        about: tuple[About, int] = ("upstreams", upstream.pk)
        if upstream.paused_at is not None:
            why = upstream.pause_reason or "no reason was given"
            text = f"The upstream {upstream} is paused: {why}"
            advice = (
                "Correct its key or its address; saving that resumes it."
                if is_refused(upstream)
                else "Resume it when that is over; its batches wait, and their windows go on."
            )
            found.append(Trouble(text, advice, *about))
        elif upstream.down_at is not None:
            since = f"{upstream.down_at:%Y-%m-%d %H:%M} UTC"
            text = f"The upstream {upstream} answers nobody since {since}: {upstream.last_error}"
            advice = "Its lines wait and no line fails. Look at that server, then test it here."
            found.append(Trouble(text, advice, *about))
    return found


def _of_tasks(failed: list[FailedTasks]) -> list[Trouble]:
    """One for all tasks that failed lately: of each function, how many."""
    if not failed:
        return []
    tasks = plural(sum(one.count for one in failed), "task", "tasks")
    each = ", ".join(
        f"{number(one.count)} of {one.func.removeprefix(f'{TASKS}.')}" for one in failed
    )
    last = f"{failed[0].last:%Y-%m-%d %H:%M:%S} UTC"
    text = f"{tasks} failed in the last 24 hours: {each}; the last at {last}."
    advice = "What they had to do is tried again by itself. Look into the worker's log for why."
    return [Trouble(text, advice, "workers")]


def _of_disks() -> list[Trouble]:
    """One for each disk that is nearly full, by what lies on it."""
    disks: dict[int, tuple[list[str], Path]] = {}
    for name, path in (("storage", settings.STORAGE_DIR), ("data directory", settings.DATA_DIR)):
        place = next(one for one in (Path(path), *Path(path).parents) if one.exists())
        disks.setdefault(place.stat().st_dev, ([], place))[0].append(name)
    found = []
    for names, place in disks.values():
        usage = shutil.disk_usage(place)
        full = usage.used / usage.total
        if full >= DISK_FULL:
            of, left = " and the ".join(names), usage.free / 1e9
            text = f"The disk of the {of} is {full:.0%} full; {left:.1f} GB are left."
            advice = "Make room. When it is full, uploads are refused and batches wait."
            found.append(Trouble(text, advice))
    return found
