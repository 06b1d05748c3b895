"""Running batches that have ended again: their failed lines, those of some causes, chosen ones, or everything."""

import functools
from typing import Any

from django import forms
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from api.clock import database_now
from batches import choosing, lifecycle
from batches.acts.told import told
from batches.lifecycle import Rerun
from batches.models import TERMINAL, Batch
from console.acts import Preview, Questions, Refused, Verb
from console.models import Act
from console.text import number, visible
from files.models import File
from files.storage import Missing

_requeueing = functools.partial(
    Verb,
    model=Batch,
    permission="batches.requeue_batch",
    done="requeued",
    refusals=(Batch.Conflict, lifecycle.InputGone),
)
ENDED = Q(status__in=TERMINAL)
UNCHECKED = {"batches whose input is checked again first": Q(total=0)}
NOTHING_FAILED = "no line has failed"


def _told(
    batches: QuerySet[Any], possible: Q, sums: dict[str, Any], rare: dict[str, Q] | None = None
) -> Preview:
    inputs = File.objects.live(database_now()).filter(pk=OuterRef("input_file_id"))
    return told(
        batches,
        possible,
        sums,
        lambda status: NOTHING_FAILED if status in TERMINAL else "not ended yet",
        unless={"the input file is gone": ~Q(Exists(inputs))},
        rare=rare,
    )


def _told_of_failures(batches: QuerySet[Any]) -> Preview:
    return _told(
        batches,
        ENDED & Q(failed__gt=0),
        {
            "good results, which are kept": F("completed"),
            "failed lines to choose from": F("failed"),
        },
    )


def _has_ended(batch: Batch) -> bool:
    return batch.status in TERMINAL


def _has_failures(batch: Batch) -> bool:
    return _has_ended(batch) and batch.failed > 0


# All that failed, or everything


def _requeue(batch: Batch, act: Act) -> None:
    lifecycle.requeue(batch, actor=act.operator, reason=act.reason)


def _requeue_all(batch: Batch, act: Act) -> None:
    lifecycle.requeue(batch, actor=act.operator, reason=act.reason, rerun=Rerun(everything=True))


REQUEUE = _requeueing(
    name="requeue failed lines",
    button="Requeue failed",
    asks="Requeue the failed lines of {objects}",
    explains="Failed and unfinished lines run again, in a new window; good results and the id stay. A batch without "
    "such lines, or whose input file is gone, is refused.",
    do=_requeue,
    preview=lambda batches: _told(
        batches,
        ENDED & ~Q(failed=0, total__gt=0),
        {"good results, which are kept": F("completed"), "lines that run again": F("failed")},
        UNCHECKED,
    ),
    applies=lambda batch: _has_failures(batch) or (_has_ended(batch) and not batch.total),
)
REQUEUE_ALL = _requeueing(
    name="requeue all lines",
    button="Requeue all",
    asks="Requeue all lines of {objects}",
    explains="Every line runs again, those with a good result too, in a new window. The upstream is paid twice for "
    "them; earlier result files stay until they expire.",
    do=_requeue_all,
    preview=lambda batches: _told(
        batches,
        ENDED,
        {"lines that run again": F("total"), "good results that are thrown away": F("completed")},
        UNCHECKED,
    ),
    applies=_has_ended,
    is_harmful=True,
)


# Of some causes


class CausesForm(Questions):
    causes = forms.MultipleChoiceField(
        label="Lines that failed of",
        widget=forms.CheckboxSelectMultiple,
        help_text="With how many lines each; those of the other causes stay failed.",
    )

    def about(self, rows: QuerySet[Any]) -> None:
        found = choosing.causes_of(rows.filter(ENDED))
        field: Any = self.fields["causes"]
        field.choices = [
            (cause, f"{visible(cause, 60)} ({number(count)} {'line' if count == 1 else 'lines'})")
            for cause, count in found.items()
        ]


def _requeue_causes(batch: Batch, act: Act) -> str:
    if not batch.failed:
        raise Refused(NOTHING_FAILED)
    rerun = Rerun(causes=frozenset(act.parameters["causes"]))
    return _requeue_some(batch, act, rerun)


def _requeue_some(batch: Batch, act: Act, rerun: Rerun) -> str:
    before = batch.failed
    lifecycle.requeue(batch, actor=act.operator, reason=act.reason, rerun=rerun)
    again = before - batch.failed
    return f"requeued {number(again)} of {number(before)} failed lines"


REQUEUE_CAUSES = _requeueing(
    name="requeue lines by cause",
    button="Requeue by cause",
    asks="Requeue lines of {objects} by cause",
    explains="The lines that failed of the causes you choose run again, in a new window. All other results stay, those "
    "of other failures too.",
    do=_requeue_causes,
    preview=_told_of_failures,
    applies=_has_failures,
    form=CausesForm,
)


# Chosen ones


class LinesForm(Questions):
    """The answer is the numbers of the lines, however they were given: `1, 5-9`."""

    lines = forms.CharField(
        required=False,
        max_length=10_000,
        label="Numbers of lines",
        help_text="Such as 7, 20-35.",
    )
    custom_ids = forms.CharField(
        required=False,
        max_length=100_000,
        label="Or custom_ids",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=f"One a line. At most {choosing.MOST:,} lines together; those that have not failed are passed over.",
    )
    batch: Batch | None = None

    def about(self, rows: QuerySet[Any]) -> None:
        self.batch = rows.first()
        suggested = self.initial.get("lines")
        if isinstance(suggested, list):  # those that were ticked, one by one
            self.initial["lines"] = ", ".join(suggested)

    def clean_lines(self) -> list[int]:
        try:
            return choosing.read_numbers(self.cleaned_data["lines"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def clean(self) -> dict[str, Any]:
        numbers = self.cleaned_data.get("lines", [])
        names = self.cleaned_data.get("custom_ids", "").splitlines()
        custom_ids = [name.strip() for name in names if name.strip()]
        if self.errors or self.batch is None:
            return self.cleaned_data
        try:
            failed = choosing.failed_lines(self.batch, numbers, custom_ids)
        except Missing as error:
            raise forms.ValidationError(f"The results cannot be read: {error}") from error
        if not failed:
            raise forms.ValidationError("None of these lines has failed.")
        if len(failed) > choosing.MOST:
            raise forms.ValidationError(f"More than {choosing.MOST:,} lines.")
        return {"lines": choosing.written(failed)}


def _requeue_lines(batch: Batch, act: Act) -> str:
    if not batch.failed:
        raise Refused(NOTHING_FAILED)
    numbers = choosing.read_numbers(act.parameters["lines"])
    return _requeue_some(batch, act, Rerun(lines=choosing.places(batch, numbers)))


REQUEUE_LINES = _requeueing(
    name="requeue chosen lines",
    button="Requeue lines",
    asks="Requeue chosen lines of {objects}",
    explains="The failed lines that you name run again, in a new window. All other results stay.",
    do=_requeue_lines,
    preview=_told_of_failures,
    applies=_has_failures,
    form=LinesForm,
    is_for_one=True,
)
