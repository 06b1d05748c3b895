"""Whatever is written can be read: WCAG 2.1 AA, 1.4.3 for text and 1.4.11 for what one must recognise, in both themes."""

import re
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOKENS = (ROOT / "console" / "static" / "console" / "tokens.css").read_text()
PAIR = re.compile(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);")
COLOURS = {name: {"light": light, "dark": dark} for name, light, dark in PAIR.findall(TOKENS)}

GROUNDS = ("page", "card", "raised", "accent-soft")
TEXTS = [
    *product(("ink", "quiet", "link"), GROUNDS),
    *product(("bad", "harm"), ("card", "page")),
    *product(("ink",), ("good-soft", "bad-soft", "warn-soft", "live-soft")),
    *((tone, f"{tone}-soft") for tone in ("good", "bad", "warn", "live", "calm", "idle")),
    ("on-accent", "accent"),
    ("on-harm", "harm"),
    ("quiet", "card"),
    ("warn", "warn-soft"),
    ("good", "card"),
]
SHAPES = [
    *product(("edge", "accent"), ("card", "page")),
    *product(("bar-done", "bar-failed"), ("card", "bar-rest")),
    *product(("line-first", "line-second"), ("card",)),
]


def luminance(colour: str) -> float:
    """Source: WCAG 2.1, relative luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_black_on_white_is_the_most_there_is() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXTS)
def test_text_can_be_read(text: str, ground: str, theme: str) -> None:
    assert contrast(COLOURS[text][theme], COLOURS[ground][theme]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("shape", "ground"), SHAPES)
def test_shapes_can_be_recognised(shape: str, ground: str, theme: str) -> None:
    assert contrast(COLOURS[shape][theme], COLOURS[ground][theme]) >= 3


def test_no_style_names_a_colour_of_its_own() -> None:
    for path in sorted((ROOT / "console" / "static" / "console").glob("*.css")):
        if path.name != "tokens.css":
            colours = re.findall(r"#[0-9a-fA-F]{3,8}\b(?![\w-]*\s*\{)", path.read_text())
            shade = {"#0b1118a6"}  # over the page, behind a dialog
            assert set(colours) - shade - {"#content"} == set(), path.name
