"""`./run bench`: what the service costs, each figure beside its peer or its limit from the same run."""

import argparse
import contextlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console

from benchmarks import console, fairness, figures, line, size, steps, throughput, validate, web
from benchmarks.figures import Section
from tools.postgres import Absent
from tools.processes import PYTHON, ROOT, Failed, signals_as_interrupts
from tools.test import database

PAGE = ROOT / "docs/benchmarks.md"
Measure = Callable[..., list[Section]]
BENCHMARKS: dict[str, Measure] = {
    "line": line.measure,
    "throughput": throughput.measure,
    "validate": validate.measure,
    "start": steps.measure,
    "api": web.measure,
    "size": size.measure,
    "console": console.measure,
    "fairness": fairness.measure,
}
# Those with a table of their own, each a program: its module and arguments.
PROGRAMS = {
    "transport": ["benchmarks.transport", "--rounds", "2", "--calls", "10000"],
    "adapt": ["benchmarks.adapt"],
}
DEFAULT = [
    *(name for name in BENCHMARKS if name != "console"),
    "transport",
]  # it and adapt take minutes
HEAD = """# Benchmarks

Made by `./run bench{arguments}` on {date}; it writes this page. CPU seconds are user and system time of all processes concerned, from `/proc`; they and the ratios hold on a busy machine, wall times less so. Figures beside each other come from the same run. A target that was not reached says so.

Machine: {machine}
"""


def machine() -> str:
    """What the figures depend on."""
    model = next(
        (row.partition(":")[2].strip() for row in _lines("/proc/cpuinfo") if "model name" in row),
        platform.machine(),
    )
    memory = next(int(row.split()[1]) for row in _lines("/proc/meminfo") if "MemTotal" in row)
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({model}), {memory / 2**20:.0f} GB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}; load when it began {load:.1f}."
    )


def _lines(path: str) -> list[str]:
    with open(path) as file:
        return file.readlines()


@contextlib.contextmanager
def servers() -> Iterator[tuple[dict[str, str], str]]:
    """The URL of each database there is, empty for SQLite; and why PostgreSQL is missing, if it is."""
    with contextlib.ExitStack() as stack:
        try:
            _, url = stack.enter_context(database(on_postgres=True))
        except (Absent, Failed) as reason:
            yield {"SQLite": ""}, str(reason)
        else:
            yield {"SQLite": "", "PostgreSQL": url}, ""


def run(names: list[str], *, largest: bool) -> list[Section]:
    """Run the benchmarks, one after the other; one that fails is a section that says so."""
    sections: list[Section] = []
    with servers() as (urls, missing):
        if missing:
            sections.append(Section("PostgreSQL", "", [], skipped=missing))
        for name in names:
            started = time.monotonic()
            options = {"largest": largest} if name == "size" else {}
            try:
                if name in PROGRAMS:
                    sections.append(run_program(name))
                else:
                    sections += BENCHMARKS[name](urls, **options)
            except (RuntimeError, Failed, OSError, subprocess.CalledProcessError) as reason:
                sections.append(Section(name, "", [], skipped=f"failed: {reason}"))
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return sections


def run_program(name: str) -> Section:
    """Run one that prints its own table."""
    done = subprocess.run(
        [PYTHON, "-m", *PROGRAMS[name]], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise Failed(f"{PROGRAMS[name][0]} ended with status {done.returncode}")
    return Section(name, "", [], text=done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    choices = [*BENCHMARKS, *PROGRAMS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(choices)}")
    parser.add_argument("--largest", action="store_true", help="size: a million lines too")
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args()
    if unknown := set(options.names) - set(choices):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    facts = machine()
    with signals_as_interrupts():
        sections = run(options.names or DEFAULT, largest=options.largest)
    Console().print(figures.table(sections))
    for section in sections:
        print(section.text, end="")
    print(facts)
    if options.save:
        arguments = "".join(f" {argument}" for argument in sys.argv[1:])
        date = time.strftime("%d %B %Y")
        head = HEAD.format(arguments=arguments, date=date, machine=facts)
        PAGE.write_text(head + "\n" + figures.markdown(sections))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
