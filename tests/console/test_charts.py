"""Charts are drawn to a round scale, and say in words what they show."""

import re

import pytest
from django.template import Context, Template

from console.charts import BOX, Column, Progress, Series, bars, lines
from console.parts import progress_cell


@pytest.mark.parametrize(
    ("most", "ticks"),
    [
        (0, ["1", "0"]),
        (1, ["1", "0"]),
        (4, ["4", "3", "2", "1", "0"]),
        (7, ["8", "6", "4", "2", "0"]),
        (560_000, ["600 k", "400 k", "200 k", "0"]),
    ],
)
def test_the_scale_is_round_and_high_enough(most: float, ticks: list[str]) -> None:
    assert bars("b", [Column("x", {"done": most})], {"done": "done"}).ticks == ticks


def test_the_parts_of_a_column_stand_on_each_other() -> None:
    chart = bars(
        "b", [Column("03:00", {"failed": 100, "done": 300}, "/x")], {"done": "ok", "failed": "lost"}
    )

    (stack,) = chart.stacks
    done, failed = stack.pieces
    assert (done.tone, done.y, done.height) == ("done", 250, 750)
    assert (failed.tone, failed.y, failed.height) == ("failed", 0, 250)
    assert stack.told == "03:00: 300 ok, 100 lost"


def test_labels_are_thinned_and_stay_in_their_places() -> None:
    chart = bars("b", [Column(str(hour), {}) for hour in range(24)], {"done": "done"})

    assert chart.labels[:4] == ["0", "", "", "3"]
    assert len(chart.labels) == 24


def test_a_line_breaks_where_nothing_was_measured_and_one_point_is_a_dot() -> None:
    chart = lines("l", ["a", "b", "c", "d"], [Series("p50", [1, None, 2, 4])])

    assert chart.strokes[0].runs == ["0.0,750.0 15.0,750.0", "666.7,500.0 1000.0,0.0"]
    assert lines("l", ["a"], [Series("p50", [None])]).strokes[0].runs == []


def test_progress_is_two_colours_over_the_rest() -> None:
    cell = progress_cell(Progress(done=540, failed=60, total=1000))

    assert f'<rect class="done" x="0" width="{BOX * 0.54}"' in cell
    assert f'<rect class="failed" x="{BOX * 0.54}" width="{BOX * 0.06}"' in cell
    assert 'aria-label="540 done, 60 failed of 1,000"' in cell
    assert "60 %" in cell


def test_of_nothing_nothing_is_said() -> None:
    cell = progress_cell(Progress(0, 0, 0))

    assert "no lines counted" in cell
    assert "%" not in cell


def test_charts_escape_and_style_by_attributes_alone() -> None:
    evil = "<script>alert(1)</script>"
    chart = bars(evil, [Column(evil, {"done": 1}, f"/{evil}")], {"done": evil})
    series = lines(evil, [evil], [Series(evil, [1])])

    page = Template("{% load console %}{% bars a %}{% lines b %}").render(
        Context({"a": chart, "b": series})
    )

    assert "<script" not in page
    assert not re.search(r"\sstyle=|\son\w+=", page)
    assert 'role="img"' in page
