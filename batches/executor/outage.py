"""When an upstream counts as down, and how it is tried until it is back."""

import logging
import math
from typing import NamedTuple, Protocol

logger = logging.getLogger(__name__)


class Health(NamedTuple):
    """How an upstream is, as far as one engine knows."""

    down: str  # why it counts as down; "" if it does not
    answered_at: float  # by the engine's clock, the latest answer


class Tried(Protocol):
    """A line that has been called. `blamed_at`: when it last failed by its own fault, or first failed at all."""

    blamed_at: float | None


class Breaker:
    """One upstream: up, or down and tried by one line at a time.

    It goes down after so many failures in a row that no answer came between, and up at the first answer. What
    fails while it is down, or was in flight when it went down, is the outage's fault and never the line's.

    Otherwise a failure is the line's own if the upstream answered another call meanwhile. Where it answered none,
    nobody can tell: a line is then blamed once in `blame_seconds`, which it survives until the upstream is known to
    be down, unless each of its calls takes long to fail.
    """

    def __init__(
        self,
        key: int,
        *,
        failures: int,
        probe_seconds: float,
        max_probe_seconds: float,
        blame_seconds: float,
    ) -> None:
        """failures: in a row, and it is down. probe_seconds: until it is tried, then doubled."""
        self._key = key
        self._most_failures = failures
        self._probe_seconds = probe_seconds
        self._max_probe_seconds = max_probe_seconds
        self._blame_seconds = blame_seconds
        self._failures = 0
        self._went_down = -math.inf
        self._probe: object = None  # the line that tries
        self._probe_at = 0.0
        self._delay = 0.0
        self.down = False
        self.reason = ""  # of the latest failure
        self.answered_at = -math.inf  # the latest answer

    def allows(self, now: float) -> bool:
        return not self.down or (self._probe is None and now >= self._probe_at)

    def started(self, line: object) -> None:
        if self.down:
            self._probe = line

    def ended(self, line: object) -> None:
        """The call is over, with or without an outcome."""
        if self._probe is line:
            self._probe = None

    def answered(self, now: float) -> None:
        self.answered_at = now
        if self.down:
            logger.warning("Upstream %s is back.", self._key)
        self.down = False
        self._failures = 0

    def failed(self, line: Tried, started: float, now: float, reason: str = "") -> bool:
        """Return whether the failure of a call begun at `started` is the line's own."""
        self.reason = reason
        if self.down:
            if self._probe is line:
                self._delay = min(2 * self._delay, self._max_probe_seconds)
                self._probe_at = now + self._delay
            return False
        if started <= self._went_down:
            return False
        self._failures += 1
        if self._failures < self._most_failures:
            return self._is_to_blame(line, started, now)
        self.down = True
        self._went_down = now
        self._delay = self._probe_seconds
        self._probe_at = now + self._delay
        logger.warning(
            "Upstream %s is down: %d calls in a row failed. Trying it with one line at a time.",
            self._key,
            self._failures,
        )
        return False

    def _is_to_blame(self, line: Tried, started: float, now: float) -> bool:
        if line.blamed_at is None:
            line.blamed_at = now
        is_alone = self.answered_at <= started
        if is_alone and now - line.blamed_at < self._blame_seconds:
            return False
        line.blamed_at = now
        return True
