"""What the soaks tell a person: a table each, and every promise that was broken."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tools import parts
from tools.soak_check import Findings
from tools.soak_client import Client
from tools.soak_nemesis import Nemesis

console = Console(highlight=False)


Figure = tuple[str, str]  # what it is, and how much


@dataclass
class Outcome:
    """All that the table tells."""

    findings: Findings
    calls: int
    repeated: int
    batches: int
    minutes: float


def show(outcome: Outcome, nemesis: Nemesis, clients: list[Client]) -> None:
    show_figures(_figures(outcome, nemesis, clients), outcome.findings.problems)


def _figures(outcome: Outcome, nemesis: Nemesis, clients: list[Client]) -> Iterator[Figure]:
    found = outcome.findings
    answers = sum((client.answers for client in clients), Counter[int]())
    yield "database", parts.describe("")["database"].partition(",")[0]
    yield "minutes", f"{outcome.minutes:.1f}"
    for kind, count in sorted(nemesis.counts.items()):
        yield kind, str(count)
    if nemesis.outage_seconds:
        yield "  for altogether", f"{nemesis.outage_seconds:.0f} s"
    yield "faults", str(nemesis.counts.total())
    yield "API requests answered", str(answers[200])
    yield "  refused with 503", str(answers[503])
    yield "  without an answer", str(answers[0])
    yield "batches", str(outcome.batches)
    yield "lines checked", str(found.lines)
    yield "upstream calls", str(outcome.calls)
    yield "  repeated after a fault", str(outcome.repeated)
    yield "longest a batch stood still", f"{max(client.longest_still for client in clients):.0f} s"
    yield "lines lost", str(found.lost)
    yield "lines doubled", str(found.doubled)
    yield "broken promises", str(len(found.problems))


def show_figures(figures: Iterable[Figure], problems: Iterable[str]) -> None:
    table = Table(show_header=False)
    for name, value in figures:
        table.add_row(name, value)
    console.print(table)
    for problem in problems:
        say(f"WRONG: {problem}")


def say(text: str) -> None:
    console.print(text, soft_wrap=True, markup=False)
