"""How many calls an upstream bears for one model: found out by trying, without being told.

The measure is tokens a second, not latency: a language model's latency grows with its load while its throughput
still rises, and answers differ in length by orders of magnitude.
"""

import math
from enum import Enum, auto

START = 16  # the first limit, when nothing has been learnt
SAMPLE = 16  # calls of a window, at least
WINDOW_SECONDS = 0.1  # in which they begin, at least: a fast upstream is not judged by noise
ENDED = 0.8  # of a window's calls, and it is judged: the slowest few do not hold it up
HOLDS = 2  # windows at one limit between two tries
DOUBLE, MORE, LESS = 2.0, 1.15, 0.87  # steps
LEAST = 1.04  # step, once larger ones were refused
PAYS = 0.25  # of what a larger limit could bring at best, and it is kept
ENOUGH = 0.985  # of the rate at the larger limit, and the smaller one is kept
CUT, CUT_OF_TRY = 0.9, 0.95  # of the calls that were accepted; a try was a step of our own
ROUNDS = 128  # of calls at the limit, as far as is looked ahead
FRESH = 0.1  # the part of the newest call in the mean round trip and size


class Phase(Enum):
    GROW = auto()  # do more calls bring more tokens?
    HOLD = auto()  # how many do these bring?
    SHRINK = auto()  # do fewer calls bring as many?


class _Window:
    """Calls begun one after another at one limit, and what they brought."""

    __slots__ = ("_ended", "_fills_until", "_first", "_next", "_size", "peak", "seconds", "tokens")

    def __init__(self, first: int, size: int) -> None:
        """first: the number of the call that opens it. size: its calls, at least."""
        self.peak = 0  # calls in flight, at most
        self.tokens = 0
        self.seconds = 0.0  # in flight, of all its calls
        self._first = self._next = first
        self._size = size
        self._fills_until = math.inf
        self._ended = 0

    def take(self, number: int, in_flight: int, now: float) -> None:
        """Let the call belong to it, unless it is full."""
        if number == self._first:
            self._fills_until = now + WINDOW_SECONDS
        if number - self._first < self._size or now < self._fills_until:
            self._next = number + 1
            self.peak = max(self.peak, in_flight)

    def add(self, number: int, seconds: float, tokens: int) -> None:
        if self._first <= number < self._next:
            self.seconds += seconds
            self.tokens += tokens

    def end(self, number: int, now: float) -> bool:
        """The call is over; return whether the window can be judged."""
        if self._first <= number < self._next:
            self._ended += 1
        size = self._next - self._first
        return size >= self._size and now >= self._fills_until and self._ended >= ENDED * size


class Pace:
    """The limit on calls in flight of one upstream and model, which follows what the upstream bears.

    It doubles while tokens a second grow with it; then it tries a little more and a little less by turns, and
    keeps what pays. When calls are refused it falls below the number of those that were not, once for all the
    calls sent before. When round trips of that have not helped, everything rests.

    Each call is told of by `began`, then by `answered`, `refused` or `failed` unless it was aborted, then by
    `ended`. `now` is in seconds of a clock that never goes back.
    """

    def __init__(
        self,
        most: int,
        *,
        rest_seconds: float,
        max_rest_seconds: float,
        max_bytes: float = math.inf,
        learnt: float | None = None,
    ) -> None:
        """most: the largest limit. rest_seconds: the first rest for which nobody named a time, then doubled.

        max_bytes: of answers that may be arriving at once here, going by their mean size.

        learnt: a limit that was right lately; there the search begins, without the doubling.
        """
        self.limit = max(1, min(most, round(START if learnt is None else learnt)))
        self.in_flight = 0
        self.rests_until = -math.inf
        self._most = most
        self._rest_seconds = rest_seconds
        self._max_rest_seconds = max_rest_seconds
        self._calls = 0  # begun; the next one has this number
        self._round_trip = 0.0  # mean seconds of the answered calls
        self._max_bytes = max_bytes
        self._size = 0.0  # mean bytes of the answers

        self._phase = Phase.GROW if learnt is None else Phase.HOLD
        self._step = DOUBLE
        self._first_step = MORE  # of the next growth
        self._tries = 0
        self._flat = False  # the last growth brought nothing
        self._base = 0  # the limit that a try is compared with; 0 before the first window
        self._base_rate = 0.0  # its tokens a second
        self._rates: list[float] = []  # of the windows of this hold
        self._open()

        self._cut_at = 0  # the number of the first call after the last cut
        self._cut_from = 0  # calls in flight before it
        self._cut_floor = 0  # the limit known to be borne then
        self._refused = 0  # of the calls before it
        self._trouble_at: float | None = None  # since when no call begun later was answered
        self._trouble_call = 0
        self._rests = 0  # in a row

    @property
    def learnt(self) -> int | None:
        """The limit that is right as far as is known; None before the first window."""
        return min(self._base, self.limit) or None

    def room(self, now: float) -> int:
        """How many calls may begin now."""
        if now < self.rests_until:
            return 0
        bearable = max(1.0, self._max_bytes // self._size) if self._size else math.inf
        return int(max(0, min(self.limit, bearable) - self.in_flight))

    def allows(self, now: float) -> bool:
        """Whether there is room for a call, told at less cost."""
        return (
            self.in_flight < self.limit
            and ((self.in_flight + 1) * self._size <= self._max_bytes or not self.in_flight)
            and now >= self.rests_until
        )

    def within(self, seconds: float) -> int:
        """About how many calls begin in this time, a few times the limit at most; 0 while nobody knows how long they take.

        They may take less when fewer run, so that many times the limit would be a guess.
        """
        return int(self.limit * min(seconds / self._round_trip, ROUNDS)) if self._round_trip else 0

    # What becomes of calls

    def began(self, now: float) -> int:
        """Return the call's number, by which it is told of."""
        number = self._calls
        self._calls += 1
        self.in_flight += 1
        self._window.take(number, self.in_flight, now)
        return number

    def answered(self, number: int, seconds: float, tokens: int) -> None:
        """A good answer came. `tokens`: that the model wrote; 0 when they are not counted."""
        self._round_trip += FRESH * (seconds - self._round_trip) if self._round_trip else seconds
        self._window.add(number, seconds, tokens or 1)
        if number >= self._trouble_call:
            self._trouble_at = None
            if self._rests:
                self._rests = 0
                self._grow_anew()

    def weighed(self, size: int) -> None:
        """An answer had so many bytes, or was refused for having more."""
        self._size += FRESH * (size - self._size) if self._size else size

    def failed(self, number: int, seconds: float) -> None:
        """The call took its time and brought nothing, for a reason other than a lack of room."""
        self._window.add(number, seconds, 0)

    def refused(self, number: int, now: float, after: float | None) -> None:
        """The upstream has no room. `after`: the seconds it asks to be left alone for."""
        if number >= self._cut_at:
            self._cut(now, after)
        self._refused += 1
        accepted = self._cut_from - self._refused
        part = CUT_OF_TRY if self._cut_floor else CUT
        borne = max(1, math.floor(part * accepted), min(self._cut_floor, accepted))
        self.limit = min(self.limit, borne)

    def ended(self, number: int, now: float) -> None:
        """The call is over, however it went."""
        self.in_flight -= 1
        if self._window.end(number, now):
            self._judge(self._window)

    # Judgements

    def _open(self) -> None:
        few = 2 * SAMPLE if self._phase is Phase.HOLD else SAMPLE
        self._window = _Window(self._calls, max(few, self.limit // 2))

    def _judge(self, window: _Window) -> None:
        if window.peak >= self.limit and window.seconds and window.tokens:  # else it says nothing
            rate = self.limit * window.tokens / window.seconds
            if self._phase is Phase.GROW:
                self._judge_more(rate)
            elif self._phase is Phase.SHRINK:
                self._judge_less(rate)
            else:
                self._judge_same(rate)
        self._open()

    def _judge_more(self, rate: float) -> None:
        if self._base:
            gain = rate / self._base_rate
            if gain < 1 + PAYS * (self.limit / self._base - 1):
                self._flat = True
                self._first_step = MORE
                self.limit = max(self._base, min(self.limit, round(self._base * gain)))
                self._hold()
                return
        self._flat = False
        self._base, self._base_rate = self.limit, rate
        self._step = min(DOUBLE, 2 * self._step - 1)
        self._try_more()

    def _judge_less(self, rate: float) -> None:
        if rate >= ENOUGH * self._base_rate:
            self._base = self.limit
            self._base_rate = max(rate, self._base_rate)
            self._try_less()
        else:
            self._flat = False
            self.limit = self._base
            self._hold()

    def _judge_same(self, rate: float) -> None:
        self._rates.append(rate)
        if len(self._rates) < HOLDS:
            return
        self._base, self._base_rate = self.limit, sum(self._rates) / len(self._rates)
        self._rates.clear()
        self._tries += 1
        if self._tries % (2 if self._flat else 4) == 0 and (self._flat or self._cut_at):
            self._try_less()
        else:
            self._step = self._first_step
            self._try_more()

    # Steps

    def _try_more(self) -> None:
        self.limit = min(self._most, max(self._base + 1, round(self._base * self._step)))
        self._phase = Phase.GROW
        if self.limit == self._base:
            self._hold()

    def _try_less(self) -> None:
        self.limit = max(1, min(self._base - 1, round(self._base * LESS)))
        self._phase = Phase.SHRINK
        if self.limit == self._base:
            self._hold()

    def _hold(self) -> None:
        self._phase = Phase.HOLD
        self._rates.clear()

    def _grow_anew(self) -> None:
        self._phase, self._step, self._base = Phase.GROW, DOUBLE, 0
        self._open()

    # Refusals

    def _cut(self, now: float, after: float | None) -> None:
        self._cut_at = self._calls
        self._cut_from = self.in_flight
        self._cut_floor = self._base if self._phase is Phase.GROW else 0
        self._first_step = max(LEAST, 1 + (self._first_step - 1) / 2) if self._cut_floor else MORE
        self._refused = 0
        if self._trouble_at is None:
            self._trouble_at = now
            self._trouble_call = self._calls
        elif self.limit == 1 or now - self._trouble_at > 2 * self._round_trip:
            self._rest(now, after)
        self._flat = False
        self._hold()
        self._open()

    def _rest(self, now: float, after: float | None) -> None:
        if after is None:
            doubled = self._rest_seconds * 2.0 ** min(self._rests, 30)
            after = min(doubled, self._max_rest_seconds)
        self.rests_until = max(self.rests_until, now + after)
        self._rests += 1
