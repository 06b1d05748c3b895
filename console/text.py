"""Strangers' text made safe to show, and the one way in which numbers, sizes and times are written."""

import datetime
import re

# Control characters, those that turn or join what stands around them, those that take no room, lone surrogates.
_UNSEEN = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_IN_ONE_LINE = re.compile(f"[{_UNSEEN}]")
_IN_LINES = re.compile(f"(?![\n\t])[{_UNSEEN}]")
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
# Source: OWASP, "CSV Injection". The wide forms are what some spreadsheets take for the narrow ones.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")

MINUTE, HOUR, DAY = 60, 3600, 86_400
KB = 1024
ALMOST = 0.9995  # from here on, a fraction of a unit would be written as a whole one


def visible(text: object, limit: int | None = None, *, lines: bool = False) -> str:
    """Return text in which nothing is hidden: what cannot be seen, or moves its neighbours, is named instead.

    limit: characters that are kept; what is left out is told. lines: keep line breaks and tabs, as in a block.
    The result is plain text, and still to be escaped.
    """
    whole = str(text)
    kept = whole if limit is None else whole[:limit]
    shown = (_IN_LINES if lines else _IN_ONE_LINE).sub(_named, kept)
    left_out = len(whole) - len(kept)
    return f"{shown}… and {number(left_out)} more characters" if left_out else shown


def csv_cell(value: object) -> str:
    """Return a cell that no spreadsheet takes for a formula, and that every reader of CSV takes at all."""
    text = _UNWRITABLE.sub(_named, str(value))
    is_number = isinstance(value, int | float)
    return f"'{text}" if text.startswith(_FORMULA) and not is_number else text


def _named(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)  # Unicode has a picture of each
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"


def number(value: float) -> str:
    """1,234,567, in full."""
    return f"{value:,}"


def plural(count: int, one: str, many: str) -> str:
    """1 batch, 3 batches."""
    return f"{number(count)} {one if count == 1 else many}"


def short_number(value: float) -> str:
    """1,234 in full, then 12.3 k, 4.56 M, 7.89 G."""
    if abs(value) < 10_000:
        return f"{value:,.0f}"
    scaled, unit = _scaled(value, 1000, ("k", "M", "G", "T"))
    return f"{scaled:.3g} {unit}"


def size(count: float) -> str:
    """512 bytes, 1.2 KB, 34 MB, 5.6 GB; of 1024 each."""
    if count < KB:
        return f"{count:,.0f} bytes"
    scaled, unit = _scaled(count, KB, ("KB", "MB", "GB", "TB"))
    return f"{scaled:.1f} {unit}" if scaled < 10 else f"{scaled:,.0f} {unit}"


def _scaled(value: float, base: int, units: tuple[str, ...]) -> tuple[float, str]:
    """Return the value in the first unit of which it is less than one of the next."""
    power = 1
    while power < len(units) and abs(value) >= base ** (power + 1) * ALMOST:
        power += 1
    return value / base**power, units[power - 1]


def duration(seconds: float) -> str:
    """40 ms, 1.2 s, 42 s, 3 min 12 s, 1 h 5 min, 2 d 4 h: the two largest units."""
    if seconds < ALMOST:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10 * ALMOST:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for length, unit, part, part_unit in (
        (DAY, "d", HOUR, "h"),
        (HOUR, "h", MINUTE, "min"),
        (MINUTE, "min", 1, "s"),
    ):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {unit}" + (f" {rest} {part_unit}" if rest else "")
    return f"{whole} s"


def guess(seconds: float) -> str:
    """A time to come that nobody knows exactly: 1 s, 42 s, 3 min 12 s, 31 min, 1 h 5 min."""
    if seconds < MINUTE:
        return f"{max(round(seconds), 1)} s"
    return duration(seconds if seconds < 10 * MINUTE else round(seconds / MINUTE) * MINUTE)


def ago(moment: datetime.datetime, now: datetime.datetime) -> str:
    """12 s ago, 3 min ago, 5 h ago, 12 d ago; "in 5 h" for what is to come."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    length, unit = next(
        (length, unit)
        for length, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (1, "s"))
        if abs(seconds) >= length
    )
    much = f"{abs(seconds) // length:.0f} {unit}"
    return f"{much} ago" if seconds > 0 else f"in {much}"


def share(part: int, whole: int) -> str:
    """54 %, never more than is true: 100 % is all of it, and 0 % nothing."""
    if part and whole and part * 100 < whole:
        return "<1 %"
    return f"{part * 100 // whole if whole else 0} %"
