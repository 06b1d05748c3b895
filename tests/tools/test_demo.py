"""`./run`: 200 prompts through real processes, on the database the tests run on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from openai.types import Batch, BatchRequestCounts

from tests.support.installation import fresh_database
from tests.support.processes import wait_for
from tools.demo import SAMPLE, Results, find_problems

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(tmp_path):
    """Of an installation of its own, whose upstream is the simulator."""
    upstream = ("UPSTREAM_BASE_URL", "UPSTREAM_API_KEY", "STORAGE_DIR")
    kept = {name: value for name, value in os.environ.items() if name not in upstream}
    with fresh_database(tmp_path) as url:
        yield {**kept, "DATABASE_URL": url, "DATA_DIR": str(tmp_path / "var"), "PYTHONWARNINGS": ""}


def left_over(directory):
    """Processes that were started with this state directory and still run."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if (
                process.name.isdigit()
                and str(directory).encode() in (process / "environ").read_bytes()
            ):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue  # it ended meanwhile
    return found


@pytest.mark.e2e
def test_demo_completes_all_prompts_and_leaves_no_process(environment, tmp_path):
    command = [sys.executable, "-m", "tools.demo"]

    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "completed 200/200" in done.stdout
    assert "200 completed, 0 failed of 200" in done.stdout
    [output] = (tmp_path / "var/demo").glob("batch_*/output.jsonl")
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    asked = [json.loads(line)["custom_id"] for line in SAMPLE.read_text().splitlines()]
    assert [line["custom_id"] for line in lines] == asked
    wait_for(lambda: left_over(environment["DATA_DIR"]) == [], "the end of all processes")


@pytest.mark.e2e
def test_interrupted_demo_stops_what_it_started(environment, tmp_path):
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.demo"],
            cwd=ROOT,
            # So that it is not done before it is interrupted.
            env=environment | {"BATCH_DEFAULT_LINE_CONCURRENCY": "1"},
            stdout=said,
            stderr=said,
        )
    try:
        wait_for(lambda: "Uploaded" in (tmp_path / "said").read_text(), "the upload", seconds=120)
        process.send_signal(signal.SIGINT)
        status = process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()

    assert status == 130, (tmp_path / "said").read_text()
    wait_for(lambda: left_over(environment["DATA_DIR"]) == [], "the end of all processes")


def results(*, status="completed", counts=(3, 3, 0), output="abc", errors=""):
    total, completed, failed = counts
    batch = Batch.construct(
        id="batch_1",
        status=status,
        request_counts=BatchRequestCounts(total=total, completed=completed, failed=failed),
        errors=None,
    )
    rows = [[{"custom_id": custom_id} for custom_id in ids] for ids in (output, errors)]
    return Results(batch, Path("/nowhere"), list("abc"), *rows, seconds=1.0)


def test_good_results_have_no_problem():
    assert find_problems(results()) == []


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"status": "expired"}, "ended as expired"),
        ({"counts": (4, 3, 0)}, "counts 4 total"),
        ({"counts": (3, 2, 0)}, "counts 2 completed"),
        ({"output": "acb"}, "order"),
        ({"output": "ab", "errors": "c", "counts": (3, 2, 1)}, "1 lines failed"),
        ({"output": "ab"}, "counts 3 completed, its files hold 2"),
    ],
    ids=str,
)
def test_result_that_is_off_is_told(wrong, problem):
    assert any(problem in told for told in find_problems(results(**wrong)))


def test_sample_is_200_prompts_with_ids_of_their_own():
    lines = [json.loads(line) for line in SAMPLE.read_text().splitlines()]

    assert len(lines) == len({line["custom_id"] for line in lines}) == 200
    assert len({line["body"]["messages"][-1]["content"] for line in lines}) == 200
