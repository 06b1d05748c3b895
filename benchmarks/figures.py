"""Figures of a run: each beside its peer or its limit from the same run, as one table, on the screen and in Markdown."""

import dataclasses
from collections.abc import Iterable

from rich.table import Table


@dataclasses.dataclass(frozen=True)
class Figure:
    """One thing measured.

    beside: what it is compared with, and that one's value in the same unit, from the same run.
    target: what was promised, in words; `reached` says whether it holds, None where nothing was promised.
    """

    name: str
    value: float
    unit: str
    beside: str = ""
    other: float | None = None
    target: str = ""
    reached: bool | None = None

    @property
    def ratio(self) -> str:
        if self.other is None or not self.other:
            return ""
        return f"x{self.value / self.other:.3g}"

    @property
    def verdict(self) -> str:
        if self.reached is None:
            return self.target
        return f"{self.target}: {'yes' if self.reached else 'NO'}"

    def cells(self) -> list[str]:
        other = "" if self.other is None else f"{shown(self.other)} {self.beside}"
        return [
            self.name,
            f"{shown(self.value)} {self.unit}",
            other or self.beside,
            self.ratio,
            self.verdict,
        ]


@dataclasses.dataclass(frozen=True)
class Section:
    """What one benchmark found. `skipped`: why it found nothing. `text`: a table of its own instead of figures."""

    name: str
    about: str
    figures: list[Figure]
    skipped: str = ""
    text: str = ""


HEADINGS = ("", "figure", "beside it", "ratio", "target")


def shown(value: float) -> str:
    """Three digits, thousands apart, no exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(sections: Iterable[Section]) -> Table:
    made = Table(title="Benchmarks", title_justify="left")
    for number, heading in enumerate(HEADINGS):
        made.add_column(heading, justify="right" if number in (1, 3) else "left")
    for section in sections:
        if section.text:
            continue
        made.add_section()
        made.add_row(f"[bold]{section.name}[/bold]", "", section.skipped, "", "")
        for figure in section.figures:
            made.add_row(*figure.cells())
    return made


def markdown(sections: Iterable[Section]) -> str:
    pieces = []
    for section in sections:
        pieces.append(f"## {section.name}\n")
        if section.about:
            pieces.append(f"{section.about}\n")
        if section.skipped:
            pieces.append(f"Skipped: {section.skipped}\n")
        elif section.text:
            pieces.append(f"```\n{section.text.strip()}\n```\n")
        else:
            rows = [list(HEADINGS), ["---", "---:", "---", "---:", "---"]]
            rows += [figure.cells() for figure in section.figures]
            pieces.append("".join(f"| {' | '.join(row)} |\n" for row in rows))
    return "\n".join(pieces)
