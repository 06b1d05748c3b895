"""One call of one line: sent, answered, judged."""

import logging
import random
import time
from collections.abc import Callable

from batches.executor.lines import (
    Code,
    Result,
    Usage,
    answer_line,
    closing_line,
    read_answer,
)
from batches.executor.pool import Pool
from batches.executor.recorder import Recorder
from batches.executor.retry import Action, Decision, backoff, decide
from batches.executor.transport import Answer, Kind, Transport, TransportError
from batches.executor.work import Line, Options, Work

logger = logging.getLogger(__name__)

Outcome = Answer | TransportError


class Caller:
    """After a call its line has a result, or waits in the pool for the next one, or its upstream is to be paused."""

    def __init__(
        self,
        transport: Transport,
        pool: Pool,
        recorder: Recorder,
        options: Options,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._transport = transport
        self._pool = pool
        self._recorder = recorder
        self._options = options
        self._clock = clock
        self._rng = rng

    async def call(self, work: Work, line: Line) -> Decision | None:
        """Return what was decided about a failure; None after a good answer.

        A bug costs this line and no other.
        """
        line.calls += 1
        started = self._clock()
        target, request = work.target, line.request
        try:
            try:
                request_id = f"{work.batch}:{request.line}:{line.calls}"
                outcome = await self._transport.post(
                    target.url, target.headers, request.body, target.timeout, request_id
                )
            except TransportError as error:
                return self._fail(work, line, error, started)
            if 200 <= outcome.status < 300 and (usage := read_answer(outcome.body)) is not None:
                self._succeed(work, line, outcome, usage, started)
                return None
            return self._fail(work, line, outcome, started)
        except Exception:  # whatever went wrong with this line, the others go on
            logger.exception("Line %s of %s failed by a bug.", request.line, work.batch)
            self._finish(work, line, self._unanswered(line, Code.INTERNAL_ERROR, started))
            return None

    def _succeed(
        self, work: Work, line: Line, answer: Answer, usage: Usage, started: float
    ) -> None:
        now = self._clock()
        work.pace.answered(line.number, now - started, usage.output_tokens)
        work.pace.weighed(len(answer.body))
        work.breaker.answered(now)
        request = line.request
        result = Result.of(
            request,
            answer_line(request, answer),
            completed=True,
            attempts=line.calls,
            status=answer.status,
            cause="",
            latency_ms=round((now - started) * 1000),
            usage=usage,
        )
        self._finish(work, line, result)

    def _fail(self, work: Work, line: Line, outcome: Outcome, started: float) -> Decision:
        decision = decide(outcome, now=time.time())
        now = self._clock()
        if isinstance(outcome, TransportError) and outcome.kind is Kind.TOO_LARGE:
            work.pace.weighed(self._options.max_answer_bytes)
        if decision.refused:
            work.pace.refused(line.number, now, decision.after)
        else:
            work.pace.failed(line.number, now - started)
        if decision.down:
            own = work.breaker.failed(line, started, now, _reason(outcome))
        else:
            own = True
            work.breaker.answered(now)
        if decision.action is Action.RETRY and own:
            line.attempts += 1
        if decision.action is Action.PAUSE:
            pass  # its work is handed back with it
        elif self._is_final(line, decision):
            self._finish(work, line, self._result(line, outcome, decision, started))
        else:
            self._wait(work, line, decision)
        return decision

    def _is_final(self, line: Line, decision: Decision) -> bool:
        if decision.action is Action.RETRY:
            return line.attempts >= self._options.max_attempts
        return decision.action is Action.FAIL

    def _wait(self, work: Work, line: Line, decision: Decision) -> None:
        options = self._options
        seconds = backoff(
            line.calls, options.backoff_seconds, options.max_backoff_seconds, self._rng
        )
        if decision.after is not None:
            # Never earlier than asked, and not all of them in the same instant.
            seconds = decision.after + self._rng.uniform(0, options.backoff_seconds)
        self._pool.wait(work, line, self._clock() + seconds)

    def _result(self, line: Line, outcome: Outcome, decision: Decision, started: float) -> Result:
        status = outcome.status if isinstance(outcome, Answer) else None
        if decision.code is not None or not isinstance(outcome, Answer):
            code = decision.code or Code.INTERNAL_ERROR
            return self._unanswered(line, code, started, status)
        return Result.of(
            line.request,
            answer_line(line.request, outcome),
            attempts=line.calls,
            status=status,
            cause=f"http_{status}",
            latency_ms=self._milliseconds(started),
        )

    def _unanswered(
        self, line: Line, code: Code, started: float, status: int | None = None
    ) -> Result:
        return Result.of(
            line.request,
            closing_line(line.request, code),
            attempts=line.calls,
            status=status,
            cause=code,
            latency_ms=self._milliseconds(started),
        )

    def _finish(self, work: Work, line: Line, result: Result) -> None:
        if work.gone:
            return
        work.left -= 1
        work.body_bytes -= len(line.request.body)
        self._recorder.add(work, result)

    def _milliseconds(self, started: float) -> int:
        return round((self._clock() - started) * 1000)


def _reason(outcome: Outcome) -> str:
    """What went wrong, for the operator; holds nothing the upstream said."""
    return f"HTTP {outcome.status}" if isinstance(outcome, Answer) else str(outcome)
