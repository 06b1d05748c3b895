"""The largest batch there may be, through a real web server and a real worker, with the settings as shipped."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import openai
import pytest

from tests.support.fleet import SETTINGS, Batch, Fleet, input_file
from tests.support.processes import children
from tests.support.server import Server, serving

pytestmark = pytest.mark.e2e
LINES = 50_000
PADDING = 850  # a line has about 1 KB then
MOST_MB = 300
SECONDS = 240


@contextmanager
def _web(fleet: Fleet) -> Iterator[tuple[Server, int]]:
    """Run the web server; yield it and its process."""
    before = set(children(os.getpid()))
    installation = fleet.installation
    with serving(
        installation.database_url, installation.directory, installation.environment
    ) as web:
        (process,) = set(children(os.getpid())) - before
        yield web, process


def _peaks(*roots: int) -> dict[int, int]:
    """The most memory, in MB, that each process and each of its descendants has had resident so far."""
    peaks: dict[int, int] = {}
    for pid in roots:
        with suppress(OSError, AttributeError):  # it has ended meanwhile
            status = Path(f"/proc/{pid}/status").read_text()
            peaks[pid] = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024  # type: ignore[index]
        peaks |= _peaks(*children(pid))
    return peaks


def test_fifty_thousand_lines(fleet: Fleet) -> None:
    installation = fleet.installation
    for name in SETTINGS:
        del installation.environment[name]
    custom_ids = [f"line-{number}" for number in range(LINES)]
    secret = fleet.key("volume")
    peaks: dict[int, int] = {}
    with _web(fleet) as (web, web_process), fleet.worker() as worker:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{web.port}/v1", api_key=secret)
        file = client.files.create(
            file=("input.jsonl", input_file(custom_ids, PADDING)), purpose="batch"
        )
        created = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        batch = Batch(installation, created.id, custom_ids)
        deadline = time.monotonic() + SECONDS
        while batch.status != "completed":
            assert time.monotonic() < deadline, f"{batch.recorded()} lines after {SECONDS} s"
            peaks |= _peaks(web_process, worker.process.pid)
            time.sleep(0.5)
        counts = client.batches.retrieve(created.id).request_counts
        output_file_id = client.batches.retrieve(created.id).output_file_id
        assert output_file_id
        output = client.files.content(output_file_id).read()
        peaks |= _peaks(web_process, worker.process.pid)
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (LINES, LINES, 0)
    assert output == batch.content("output")
    batch.assert_whole()
    assert fleet.upstream.called() == LINES
    assert max(peaks.values()) < MOST_MB, peaks
