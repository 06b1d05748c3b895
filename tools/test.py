"""`./run test`: every check and every test that can run here, and a table of what ran and what did not."""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tools.postgres import Absent, temporary_postgres
from tools.processes import PYTHON, ROOT, Failed, signals_as_interrupts

_SKIPPED = re.compile(r"^SKIPPED \[(\d+)\] [^ ]+: (.*)$")
_SUMMARY = re.compile(
    r"^=* ?(.*\b(?:passed|failed|error|errors|skipped|no tests ran)\b.* in [\d.]+s.*?) ?=*$"
)


@dataclass
class Part:
    """One row of the closing table."""

    name: str
    outcome: str  # ran, failed or skipped
    seconds: float = 0.0
    note: str = ""


@dataclass
class Report:
    """Everything that ran, failed or was skipped, tests in groups by reason."""

    parts: list[Part] = field(default_factory=list)
    skipped_tests: Counter[str] = field(default_factory=Counter)
    pytest_summary: str = "pytest did not run"

    def ok(self, *, require: bool) -> bool:
        outcomes = {part.outcome for part in self.parts}
        skips = "skipped" in outcomes or bool(self.skipped_tests)
        return "failed" not in outcomes and not (require and skips)


def checks(scratch: str) -> dict[str, list[str]]:
    """The commands of every check besides pytest, by the name of its part."""
    manage = [PYTHON, "manage.py"]
    schema = ["spectacular", "--validate", "--fail-on-warn", "--file", f"{scratch}/openapi.yaml"]
    packages = ["config", "batches", "files", "accounts", "console", "api", "simulator", "tools"]
    return {
        "lint": [PYTHON, "-m", "ruff", "check", "."],
        "format": [PYTHON, "-m", "ruff", "format", "--check", "."],
        "imports": [str(Path(PYTHON).with_name("lint-imports"))],
        "migrations": [*manage, "makemigrations", "--check", "--dry-run"],
        "schema": [*manage, *schema],
        "types": [PYTHON, "-m", "mypy", *(name for name in packages if (ROOT / name).is_dir())],
    }


def run_check(name: str, command: list[str], env: dict[str, str]) -> Part:
    """Run quietly; what it said is shown only if it failed."""
    started = time.monotonic()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    seconds = time.monotonic() - started
    if done.returncode == 0:
        return Part(name, "ran", seconds)
    print(f"--- {name}: {' '.join(command)}", flush=True)
    sys.stdout.buffer.write(done.stdout)
    sys.stdout.flush()
    return Part(name, "failed", seconds, f"exit status {done.returncode}")


def run_pytest(name: str, arguments: list[str], env: dict[str, str], report: Report) -> None:
    """Run and show pytest, and note what it skipped."""
    started = time.monotonic()
    # Three for two cores: tests that kill and freeze spend half of their time waiting. A worker that has nothing left
    # takes over what waits for another, since some tests last for half a minute.
    command = [PYTHON, "-m", "pytest", "-n", "3", "--dist", "worksteal", *arguments]
    # A session of its own, so that a Ctrl-C reaches it once: from here.
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            show_pytest(process, report)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            raise
    note = f"exit status {process.returncode}" if process.returncode else ""
    outcome = "failed" if process.returncode else "ran"
    report.parts.append(Part(name, outcome, time.monotonic() - started, note))


def show_pytest(process: "subprocess.Popen[str]", report: Report) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        read_pytest_line(line.rstrip("\n"), report)


def read_pytest_line(line: str, report: Report) -> None:
    if skipped := _SKIPPED.match(line):
        report.skipped_tests[skipped[2]] += int(skipped[1])
    elif summary := _SUMMARY.match(line):
        report.pytest_summary = summary[1]


@contextlib.contextmanager
def database(on_postgres: bool) -> Iterator[tuple[str, str]]:
    """The name of the tests' database and its URL; the URL is empty for SQLite, a file for each process.

    Raises:
        Absent: PostgreSQL was asked for and there is none.
    """
    if not on_postgres:
        yield "SQLite", ""
    elif url := os.environ.get("TEST_DATABASE_URL"):
        yield "PostgreSQL of TEST_DATABASE_URL", url
    else:
        with temporary_postgres() as url:
            yield "PostgreSQL of its own", url


def environment(scratch: str, url: str) -> dict[str, str]:
    """The caller's environment without his installation: own state, and the database at `url`."""
    foreign = (
        "DATABASE_URL",
        "TEST_DATABASE_URL",
        "UPSTREAM_BASE_URL",
        "UPSTREAM_API_KEY",
        "STORAGE_DIR",
    )
    env = {name: value for name, value in os.environ.items() if name not in foreign}
    env["DATA_DIR"] = scratch
    return {**env, "DATABASE_URL": url, "TEST_DATABASE_URL": url} if url else env


def run_all(arguments: argparse.Namespace, pytest_arguments: list[str]) -> Report:
    report = Report()
    with tempfile.TemporaryDirectory(prefix="longshore-test-") as scratch:
        for name, command in checks(scratch).items():
            report.parts.append(run_check(name, command, environment(scratch, "")))
        try:
            with database(arguments.postgres) as (name, url):
                run_pytest(f"tests on {name}", pytest_arguments, environment(scratch, url), report)
        except Absent as reason:
            report.parts.append(Part("tests on PostgreSQL", "skipped", note=str(reason)))
        except Failed as reason:
            report.parts.append(Part("tests on PostgreSQL", "failed", note=str(reason)))
    return report


def show(report: Report) -> None:
    table = Table("part", "outcome", "seconds", "note", title="What ran", title_justify="left")
    for part in report.parts:
        table.add_row(part.name, part.outcome, f"{part.seconds:.1f}", part.note)
    for reason, count in report.skipped_tests.most_common():
        table.add_row(f"{count} tests", "skipped", "", reason)
    Console().print(table)
    print(report.pytest_summary, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./run test", description=__doc__, epilog="Anything else goes to pytest."
    )
    parser.add_argument("--require", action="store_true", help="a skip is a failure")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")
    arguments, pytest_arguments = parser.parse_known_args()
    with signals_as_interrupts():
        report = run_all(arguments, pytest_arguments)
    show(report)
    return 0 if report.ok(require=arguments.require) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
