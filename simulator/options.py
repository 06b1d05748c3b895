"""What the simulator does to its callers: set on the command line, changed while it runs by POST /settings."""

import argparse
import math
from functools import lru_cache
from statistics import NormalDist
from typing import Annotated, NamedTuple, Self

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
_NORMAL = NormalDist()


class Latency(NamedTuple):
    """Seconds of one call: `median` itself when `sigma` is 0, else lognormal around it."""

    median: float
    sigma: float

    def seconds(self, position: float) -> float:
        """The latency at `position` (0 < position < 1) of the distribution."""
        if not self.sigma:
            return self.median
        return self.median * math.exp(self.sigma * _NORMAL.inv_cdf(position))


@lru_cache(maxsize=64)
def parse_latency(text: str) -> Latency:
    """Read `0.2` or `lognormal:MEDIAN,SIGMA`.

    Raises:
        ValueError: it is neither, or negative.
    """
    kind, colon, numbers = text.rpartition(":")
    parts = numbers.split(",")
    try:
        if not colon and len(parts) == 1:
            latency = Latency(float(parts[0]), 0.0)
        elif kind == "lognormal" and len(parts) == 2:
            latency = Latency(float(parts[0]), float(parts[1]))
        else:
            raise ValueError(text)
    except ValueError:
        raise ValueError(
            f"latency {text!r} is neither SECONDS nor lognormal:MEDIAN,SIGMA"
        ) from None
    if not (0 <= latency.median < 86400 and 0 <= latency.sigma < 10):
        raise ValueError(f"latency {text!r} is out of range")
    return latency


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How calls are answered. `changed` is the one way to another set of options."""

    latency: float | str = 0.0  # seconds, or lognormal:MEDIAN,SIGMA
    tokens: Count = 24  # words of an answer, after the opening that says it is simulated
    proportional: bool = (
        False  # an answer has more or fewer tokens, as its latency is long or short
    )
    fail: Share = 0.0  # of the calls end with a 500
    reject: Share = 0.0  # of the calls end with a 429
    broken: bool = False  # every call is cut off without an answer
    retry_after: float | None = None  # seconds, sent with every 429
    capacity: Count | None = None  # calls served at once; None has no limit
    queue: Count = 0  # calls that wait when all of the capacity is taken; beyond them 429
    seed: Annotated[int, Meta(ge=0, le=2**62)] = 0
    models: list[str] = []  # an empty list serves any
    count_ids: bool = False  # GET /stats tells the calls of each x-request-id

    def __post_init__(self) -> None:
        parse_latency(str(self.latency))

    def seconds(self, position: float) -> float:
        return parse_latency(str(self.latency)).seconds(position)

    def words(self, position: float) -> int:
        """The tokens of the answer whose latency is at that `position`."""
        latency = parse_latency(str(self.latency))
        if not self.proportional or not latency.median:
            return self.tokens
        return round(self.tokens * latency.seconds(position) / latency.median)

    def changed(self, changes: object) -> Self:
        """These options with `changes` (a mapping of field names) laid over them.

        Raises:
            ValueError: an unknown name, or a value that does not fit it; nothing is changed.
        """
        if not isinstance(changes, dict):
            raise ValueError("Expected a JSON object of options")
        return msgspec.convert({**msgspec.structs.asdict(self), **changes}, type(self))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` one argument for each option; what is not given keeps its default."""
    add = parser.add_argument
    add("--latency", default=argparse.SUPPRESS, help="SECONDS, or lognormal:MEDIAN,SIGMA")
    add("--tokens", type=int, default=argparse.SUPPRESS, help="words of an answer")
    add(
        "--proportional",
        action="store_true",
        default=argparse.SUPPRESS,
        help="answers that take longer have more tokens",
    )
    add("--fail", type=float, default=argparse.SUPPRESS, help="share of calls that end with a 500")
    add("--reject", type=float, default=argparse.SUPPRESS, help="share that end with a 429")
    add("--broken", action="store_true", default=argparse.SUPPRESS, help="cut every call off")
    add("--retry-after", type=float, default=argparse.SUPPRESS, help="seconds, sent with every 429")
    add("--capacity", type=int, default=argparse.SUPPRESS, help="calls served at once")
    add("--queue", type=int, default=argparse.SUPPRESS, help="calls that wait beyond the capacity")
    add("--seed", type=int, default=argparse.SUPPRESS, help="another seed gives other answers")
    add(
        "--models",
        type=lambda text: text.split(","),
        default=argparse.SUPPRESS,
        help="the only models served, separated by commas",
    )
    add("--count-ids", action="store_true", help="count the calls of each x-request-id in /stats")


def from_arguments(arguments: dict[str, object]) -> Options:
    """The options among parsed `arguments`.

    Raises:
        ValueError: a value is out of its range.
    """
    names = Options.__struct_fields__
    return Options().changed({name: arguments[name] for name in names if name in arguments})
