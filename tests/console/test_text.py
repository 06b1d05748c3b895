"""Strangers' text is shown as it is, and nothing of it hides, moves or acts."""

import csv
import datetime
import io
import time

import pytest
from django.template import Context, Template
from hypothesis import given
from hypothesis import strategies as st

from console import text
from console.text import csv_cell, visible

NOW = datetime.datetime(2026, 11, 25, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain text, äöü 漢字 😀", "plain text, äöü 漢字 😀"),
        ("{{7*7}}", "{{7*7}}"),
        ("a\x00b", "a␀b"),
        ("a\nb\tc\r", "a␊b␉c␍"),
        ("\x1b[31mred", "␛[31mred"),
        ("\x7f\x85", "␡⟨U+0085⟩"),
        ("evil\u202egnp.exe", "evil⟨U+202E⟩gnp.exe"),
        ("\u2066x\u2069", "⟨U+2066⟩x⟨U+2069⟩"),
        ("zero\u200bwidth", "zero⟨U+200B⟩width"),
        ("\ufeffbom", "⟨U+FEFF⟩bom"),
        ("lone \ud800 surrogate", "lone ⟨U+D800⟩ surrogate"),
        ("\U000e0041tag", "⟨U+E0041⟩tag"),
    ],
)
def test_what_cannot_be_seen_is_named(given: str, shown: str) -> None:
    assert visible(given) == shown


def test_a_block_keeps_its_lines() -> None:
    assert visible("a\n\tb\r\n\u202e", lines=True) == "a\n\tb␍\n⟨U+202E⟩"


def test_what_is_left_out_is_told() -> None:
    assert visible("x" * 1234, 10) == "xxxxxxxxxx… and 1,224 more characters"
    assert visible("x" * 10, 10) == "x" * 10


def test_a_megabyte_is_no_burden() -> None:
    megabyte = "\u202e" * 1_000_000
    began = time.process_time()

    assert len(visible(megabyte, 60)) < 600

    assert time.process_time() - began < 0.1


@given(st.text(st.characters(codec=None)))
def test_whatever_comes_out_can_be_sent_and_hides_nothing(given: str) -> None:
    shown = visible(given)

    shown.encode()
    assert visible(shown) == shown


def test_a_page_escapes_what_a_template_shows() -> None:
    template = Template("{% load console %}{{ text|visible }} {% badge text %} {% short_id text %}")

    page = template.render(Context({"text": '<script>alert("x")</script>\u202e{{7*7}}'}))

    assert "<script" not in page
    assert 'alert("' not in page
    assert "{{7*7}}" in page
    assert "⟨U+202E⟩" in page


@pytest.mark.parametrize(
    "given",
    [
        "=HYPERLINK(1)",
        "+1",
        "-1+2",
        "@x",
        "\tx",
        "\rx",
        "\nx",
        "\uff1d1",
        "\uff0b1",
        "\uff0d1",
        "\uff20x",
    ],
)
def test_a_spreadsheet_takes_no_cell_for_a_formula(given: str) -> None:
    assert csv_cell(given) == f"'{given}"


@pytest.mark.parametrize(("given", "cell"), [(-5, "-5"), (1.5, "1.5"), ("a=b", "a=b"), ("", "")])
def test_other_cells_are_left_alone(given: object, cell: str) -> None:
    assert csv_cell(given) == cell


def test_a_cell_survives_writing_and_reading() -> None:
    cell = csv_cell("a\x00b\ud800\n,\"'")
    file = io.StringIO()

    csv.writer(file).writerow([cell])

    assert next(csv.reader(io.StringIO(file.getvalue()))) == ["a␀b⟨U+D800⟩\n,\"'"]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (12_345, "12.3 k"),
        (999_600, "1 M"),
        (9_960_785, "9.96 M"),
        (2_500_000_000_000, "2.5 T"),
    ],
)
def test_large_numbers_are_short(given: int, written: str) -> None:
    assert text.short_number(given) == written


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1536, "1.5 KB"),
        (1048576, "1.0 MB"),
        (56e8, "5.2 GB"),
    ],
)
def test_sizes(given: float, written: str) -> None:
    assert text.size(given) == written


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (0.04, "40 ms"),
        (0.9996, "1.0 s"),
        (1.23, "1.2 s"),
        (42.4, "42 s"),
        (59.7, "1 min"),
        (192, "3 min 12 s"),
        (3900, "1 h 5 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations(given: float, written: str) -> None:
    assert text.duration(given) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.2, "1 s"), (192, "3 min 12 s"), (1855, "31 min"), (3599, "1 h"), (3950, "1 h 6 min")],
)
def test_a_guess_is_no_more_exact_than_it_can_be(seconds: float, written: str) -> None:
    assert text.guess(seconds) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "now"), (12, "12 s ago"), (3599, "59 min ago"), (90_000, "1 d ago"), (-7200, "in 2 h")],
)
def test_ages(seconds: int, written: str) -> None:
    assert text.ago(NOW - datetime.timedelta(seconds=seconds), NOW) == written


@pytest.mark.parametrize(
    ("part", "whole", "written"),
    [(0, 0, "0 %"), (0, 9, "0 %"), (1, 1000, "<1 %"), (999, 1000, "99 %"), (5, 5, "100 %")],
)
def test_a_share_never_says_more_than_is_true(part: int, whole: int, written: str) -> None:
    assert text.share(part, whole) == written
