"""Charts drawn by the server as SVG: attributes only, so that the strictest policy lets them through.

Shapes live in a box of 1000 by 1000 that is stretched to its place; labels are HTML around it, and keep their size.
A chart is data until a tag of `console.templatetags.console` writes it.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from console.text import number, share, short_number

BOX = 1000
GAP = 0.22  # of a column's room, left empty
TICKS = 5  # above the lowest, at most
LABELS = 8  # along the time axis, at most
DASH = 15  # each way, where a line has one point only


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How a whole is made up: done, failed, and the rest that is still to do or will never be."""

    done: int
    failed: int
    total: int

    @property
    def done_width(self) -> float:
        return self._width(self.done)

    @property
    def failed_width(self) -> float:
        return self._width(self.failed)

    @property
    def told(self) -> str:
        """The bar in words."""
        failed = f", {number(self.failed)} failed" if self.failed else ""
        return f"{number(self.done)} done{failed} of {number(self.total)}"

    @property
    def ended_text(self) -> str:
        return number(self.done + self.failed) if self.total else ""

    @property
    def rest_text(self) -> str:
        if not self.total:
            return "no lines counted"
        return f"of {number(self.total)} · {share(self.done + self.failed, self.total)}"

    def _width(self, part: int) -> float:
        return round(BOX * part / self.total, 1) if self.total else 0


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One place on the axis of a bar chart: its label, and the height of each part by its tone (done, failed ...)."""

    label: str
    parts: dict[str, float]
    link: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """One line of a line chart; None where nothing was measured, which breaks the line."""

    name: str
    values: Sequence[float | None]
    tone: str = "first"


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    tone: str
    y: float
    height: float


@dataclasses.dataclass(frozen=True, slots=True)
class Stack:
    """A column as it is drawn."""

    x: float
    width: float
    pieces: Sequence[Piece]
    told: str  # shown beside the pointer
    link: str


@dataclasses.dataclass(frozen=True, slots=True)
class Bars:
    title: str
    ticks: Sequence[str]  # from the top down
    labels: Sequence[str]
    stacks: Sequence[Stack]
    legend: dict[str, str]  # tone -> name

    @property
    def is_linked(self) -> bool:
        """Whether it leads somewhere, and so is more than a picture."""
        return any(stack.link for stack in self.stacks)


@dataclasses.dataclass(frozen=True, slots=True)
class Stroke:
    name: str
    tone: str
    runs: Sequence[str]  # the points of each unbroken run


@dataclasses.dataclass(frozen=True, slots=True)
class Lines:
    title: str
    ticks: Sequence[str]
    labels: Sequence[str]
    strokes: Sequence[Stroke]


def bars(
    title: str,
    columns: Sequence[Column],
    names: dict[str, str],
    written: Callable[[float], str] = short_number,
) -> Bars:
    """A column for each entry, its parts stacked in the order of `names` (tone -> name), the first at the bottom."""
    top, ticks = _scale(max((sum(column.parts.values()) for column in columns), default=0))
    room = BOX / max(1, len(columns))
    stacks = [
        Stack(
            x=round((index + GAP / 2) * room, 2),
            width=round((1 - GAP) * room, 2),
            pieces=_pieces(column, names, top),
            told=_told(column, names, written),
            link=column.link,
        )
        for index, column in enumerate(columns)
    ]
    labels = _thinned([column.label for column in columns])
    return Bars(title, [written(tick) for tick in ticks], labels, stacks, names)


def lines(
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    written: Callable[[float], str] = short_number,
) -> Lines:
    """A line for each series over the same axis, from its first value to its last."""
    most = max((value for one in series for value in one.values if value is not None), default=0)
    top, ticks = _scale(most)
    strokes = [Stroke(one.name, one.tone, _runs(one.values, top)) for one in series]
    return Lines(title, [written(tick) for tick in ticks], _thinned(labels), strokes)


def _scale(most: float) -> tuple[float, list[float]]:
    """Return a round height that `most` fits under, and the ticks from there down to 0."""
    if most <= 0:
        return 1, [1, 0]
    power = 10.0 ** math.floor(math.log10(most))
    step = next(power * part for part in (0.2, 0.5, 1, 2) if most <= power * part * TICKS)
    if isinstance(most, int):  # what is counted has no halves
        step = max(1, step)
    count = math.ceil(most / step)
    return step * count, [step * number for number in range(count, -1, -1)]


def _pieces(column: Column, names: dict[str, str], top: float) -> list[Piece]:
    pieces, reached = [], 0.0
    for tone in names:
        height = BOX * column.parts.get(tone, 0) / top
        if height:
            reached += height
            pieces.append(Piece(tone, round(BOX - reached, 2), round(height, 2)))
    return pieces


def _told(column: Column, names: dict[str, str], written: Callable[[float], str]) -> str:
    parts = [f"{written(column.parts.get(tone, 0))} {name}" for tone, name in names.items()]
    return f"{column.label}: {', '.join(parts)}"


def _runs(values: Sequence[float | None], top: float) -> list[str]:
    runs: list[list[tuple[float, float]]] = [[]]
    step = BOX / max(1, len(values) - 1)
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((index * step, BOX - BOX * value / top))
    return [" ".join(f"{x:.1f},{y:.1f}" for x, y in _seen(run)) for run in runs if run]


def _seen(run: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A run of one point as a dash, for a line without length is hard to see."""
    if len(run) > 1:
        return run
    ((x, y),) = run
    return [(max(0, x - DASH), y), (min(BOX, x + DASH), y)]


def _thinned(labels: Sequence[str]) -> list[str]:
    """Keep at most LABELS of them, evenly apart, each in the place of its column; those of few stay as they are."""
    if sum(map(bool, labels)) <= LABELS:
        return list(labels)
    each = math.ceil(len(labels) / LABELS) or 1
    last = len(labels) - each / 2  # beyond it there is no room for a text
    return [
        label if index % each == 0 and index <= last else "" for index, label in enumerate(labels)
    ]
