"""`console`: what every page of the console asks of the database with a million batches, beside the same with a hundred."""

from benchmarks.figures import Figure, Section
from benchmarks.stage import stage

ABOUT = (
    "Each page of the console, opened by a superuser, the best of three: milliseconds of SQL with a million batches (and "
    "files, shards, changes of state; half of them one account's), beside the same page with a hundred. In brackets: "
    "queries, and milliseconds in all. SQLite has no statistics of its tables, PostgreSQL those of its autovacuum."
)
FEW, MANY = 100, 1_000_000
MOST_QUERIES, MOST_MS = 10, 60
SETTINGS = {"DJANGO_SETTINGS_MODULE": "config.settings", "ALLOWED_HOSTS": "testserver"}


def measure(servers: dict[str, str]) -> list[Section]:
    return [_section(name, url) for name, url in servers.items()]


def _section(name: str, url: str) -> Section:
    with stage(url, **SETTINGS) as place:
        place.command("-m", "benchmarks.console_rows", str(FEW))
        few = place.run("benchmarks.console_pages")
        place.command("-m", "benchmarks.console_rows", str(MANY))
        many = place.run("benchmarks.console_pages")
    figures = [_figure(page, costs, few.get(page)) for page, costs in many.items()]
    return Section(f"console, {name}", ABOUT, figures)


def _figure(page: str, costs: list[float], before: list[float] | None) -> Figure:
    queries, sql, whole = costs
    return Figure(
        f"{page} [{queries:.0f}; {whole:.0f} ms]",
        sql,
        "ms SQL",
        f"with {FEW}",
        before[1] if before else None,
        f"<= {MOST_MS} ms, {MOST_QUERIES} queries",
        sql <= MOST_MS and queries <= MOST_QUERIES,
    )
