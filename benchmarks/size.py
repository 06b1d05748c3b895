"""`size`: CPU and memory of a batch over its number of lines, as a table and as a drawing in docs/."""

import math

from benchmarks.batch import Consumer, Run, write_input
from benchmarks.figures import Figure, Section, shown
from benchmarks.stage import stage, start_upstream
from tools.processes import ROOT

ABOUT = (
    "On SQLite, one fresh service for each size, an upstream that costs nothing. CPU: web server and worker from upload "
    "to download, for one line. Memory: the most that any one process has held. ![CPU and memory over the number of "
    "lines](size.svg)"
)
SIZES = (1_000, 10_000, 100_000)
LARGEST = 1_000_000
DRAWING = ROOT / "docs/size.svg"
WIDTH, HEIGHT, LEFT, TOP = 640, 220, 70, 30


def measure(_servers: dict[str, str], *, largest: bool = False) -> list[Section]:
    runs = [_run(lines) for lines in (*SIZES, *([LARGEST] if largest else []))]
    DRAWING.write_text(draw(runs))
    first = runs[1]
    figures = []
    for run in runs:
        name, cost = f"{run.lines:,} lines", run.spent / run.lines * 1000
        other = first.spent / first.lines * 1000
        figures.append(Figure(name, cost, "ms CPU a line", f"{first.lines:,} lines", other))
        figures.append(
            Figure(
                "  worker process",
                run.worker_mb,
                "MB",
                "the limit",
                300,
                "< 300",
                run.worker_mb < 300,
            )
        )
        figures.append(
            Figure("  web process", run.web_mb, "MB", "the limit", 300, "< 300", run.web_mb < 300)
        )
    return [Section("size", ABOUT, figures)]  # fmt: skip


def _run(lines: int) -> Run:
    with stage() as place:
        start_upstream(place)
        place.start_web()
        place.start_worker()
        consumer = Consumer(place)
        consumer.run(write_input(place.directory / "warm.jsonl", 200), 200)
        return consumer.run(write_input(place.directory / "in.jsonl", lines), lines, 0.5)


# The drawing: two panels over the same logarithmic axis


def draw(runs: list[Run]) -> str:
    cost = [(run.lines, run.spent / run.lines * 1000) for run in runs]
    worker = [(run.lines, run.worker_mb) for run in runs]
    web = [(run.lines, run.web_mb) for run in runs]
    panels = [
        *_panel(0, "CPU of one line, ms", [("web and worker", "#1f6feb", cost)]),
        *_panel(
            HEIGHT,
            "Most memory of one process, MB",
            [("worker", "#1f6feb", worker), ("web", "#bf8700", web)],
        ),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {2 * HEIGHT}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{2 * HEIGHT}" fill="white"/>\n'
        + "\n".join(panels)
        + "\n</svg>\n"
    )


Points = list[tuple[int, float]]


def _panel(top: int, title: str, lines: list[tuple[str, str, Points]]) -> list[str]:
    most = 1.25 * max(value for _, _, points in lines for _, value in points)
    floor = top + HEIGHT - 40
    sizes = [size for size, _ in lines[0][2]]

    def place(size: int, value: float) -> tuple[float, float]:
        along = math.log10(size / sizes[0]) / math.log10(sizes[-1] / sizes[0])
        return LEFT + along * (WIDTH - LEFT - 60), floor - value / most * (floor - top - TOP)

    made = [f'<text x="{LEFT}" y="{top + 18}" font-weight="bold">{title}</text>']
    made.append(f'<path d="M{LEFT} {top + TOP}V{floor}H{WIDTH - 40}" fill="none" stroke="#888"/>')
    made.append(f'<text x="{LEFT - 8}" y="{floor}" text-anchor="end">0</text>')
    made += [
        f'<text x="{place(size, 0)[0]:.0f}" y="{floor + 18}" text-anchor="middle">{size:,}</text>'
        for size in sizes
    ]
    for number, (name, colour, points) in enumerate(lines):
        path = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in points)
        made.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for point in points:
            x, y = place(*point)
            made.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
            made.append(
                f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">{shown(point[1])}</text>'
            )
        made.append(
            f'<text x="{WIDTH - 40}" y="{top + 18 + 14 * number}" text-anchor="end" fill="{colour}">{name}</text>'
        )
    return made
