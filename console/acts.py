"""What operators do: written down first, then done object by object, each in one transaction with its outcome.

Verb      what can be done to the rows of a model, by whom, and how it is told beforehand
begin     writes an act and all its objects down; sent twice, with one token, it is one act
carry_on  deals with the objects that wait, until the time is up; safe to run twice, at once, late, or never
record    writes down what the caller's own transaction has just done to rows
"""

import dataclasses
import datetime
import getpass
import logging
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from django import forms
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import F, Model, QuerySet
from django.http import HttpRequest
from django.utils.text import slugify

from api.clock import database_now
from console.address import caller_address
from console.models import LABEL_CHARS, NAME_CHARS, Act, ActObject, kind_of
from console.text import number, plural, visible

logger = logging.getLogger(__name__)

MOST = 10_000  # objects of one act
OWNERS_NAMED = 20  # before it is done
OUTCOME_CHARS = 500
ROWS_AT_ONCE = 500  # below SQLite's limit of variables in one statement


class TooMany(Exception):
    """More objects than one act may have."""


class Refused(Exception):
    """The row does not allow it. For a `do` that has no exception of its own to say so."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What can be told before it is done. Each maps a text to how many: lines, objects of an owner, objects."""

    sums: Mapping[str, int] = dataclasses.field(default_factory=dict)  # "lines already done, kept"
    owners: Mapping[str, int] = dataclasses.field(default_factory=dict)  # whose objects they are
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)  # why some will be refused

    def whose(self) -> list[tuple[str, int]]:
        """The owners that have the most, by name, and last what all others have together."""
        ranked = sorted(self.owners.items(), key=lambda owner: (-owner[1], owner[0]))
        named, others = ranked[:OWNERS_NAMED], ranked[OWNERS_NAMED:]
        if others:
            rest = plural(len(others), "further owner", "further owners")
            named.append((rest, sum(count for _, count in others)))
        return named


class Questions(forms.Form):
    """Further questions of a confirm page."""

    def about(self, rows: QuerySet[Any]) -> None:
        """Told what the act is about, before anything is shown or checked: for choices that depend on it."""


def _nothing_told(rows: QuerySet[Any]) -> Preview:
    return Preview()


def _always(row: Any) -> bool:
    return True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verb:
    """Something that can be done to the rows of a model. To define one is to make it known to the log and the worker.

    do: the domain call, for one row; returns what happened when that is not just `done`.
    refusals: what `do` raises when the row does not allow it; such an object is skipped, and the log says why.
    preview: looks at the rows with a few queries, however many they are.
    form: further questions of the confirm page; the answers are the act's parameters, and must fit into JSON.
    """

    name: str  # in the log: "cancel batches"
    button: str  # "Cancel"
    asks: str  # "Cancel {objects}", where the objects become "3 batches"
    done: str  # "cancelled"
    explains: str  # what it means, in a sentence or two
    model: type[Model]
    permission: str  # "batches.cancel_batch"
    do: Callable[[Any, Act], str | None]
    refusals: tuple[type[Exception], ...] = ()
    preview: Callable[[QuerySet[Any]], Preview] = _nothing_told
    applies: Callable[[Any], bool] = _always  # whether a row's own page offers it
    form: type[Questions] | None = None
    is_harmful: bool = False
    is_for_one: bool = False  # offered on a row's own page, and not for a selection

    def __post_init__(self) -> None:
        VERBS[self.name] = self

    @property
    def slug(self) -> str:
        return slugify(self.name)

    def asked(self, count: int) -> str:
        """The question, about so many objects."""
        return self.asks.format(objects=counted(count, self.model))


VERBS: dict[str, Verb] = {}  # by name


@dataclasses.dataclass(frozen=True, slots=True)
class By:
    """Who acts: the name that the log keeps, and where it came from."""

    name: str
    user_id: int | None = None
    address: str = ""

    @classmethod
    def request(cls, request: HttpRequest) -> "By":
        user = request.user
        name = f"operator {user.get_username()}"
        return cls(name[:NAME_CHARS], user.pk, caller_address(request))

    @classmethod
    def command(cls) -> "By":
        return cls(f"command {getpass.getuser()}@{socket.gethostname()}"[:NAME_CHARS])


def new_token() -> str:
    """What makes one act of two submits of the same page."""
    return secrets.token_urlsafe(24)


def counted(count: int, model: type[Model]) -> str:
    """1 batch, 3 batches, more than 10,000 batches."""
    many = "more than " if count > MOST else ""
    options = model._meta
    name = options.verbose_name if count == 1 else options.verbose_name_plural
    return f"{many}{number(min(count, MOST))} {name}"


def begin(
    verb: Verb,
    by: By,
    rows: QuerySet[Any],
    *,
    reason: str,
    token: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> Act:
    """Write down that `verb` is to be done to these rows as they are found now; nothing is done to them yet.

    A token that was used returns its act as it is. Raises TooMany; and IntegrityError for another's token.
    """
    known = {"token": token or new_token(), "verb": verb.name, "operator": by.name}
    if act := Act.objects.filter(**known).first():
        return act
    found = list(rows[: MOST + 1])
    if len(found) > MOST:
        raise TooMany(f"{verb.asked(len(found))}? That is too much at once.")
    try:
        with transaction.atomic():
            return _written(
                Act(**known, reason=reason, parameters=dict(parameters or {})), by, found
            )
    except IntegrityError:  # the same page, sent a moment ago
        act = Act.objects.filter(**known).first()
        if act is None:
            raise
        return act


def record(
    by: By,
    verb: str,
    *rows: Model,
    outcome: str,
    reason: str = "",
    parameters: Mapping[str, Any] | None = None,
    at: datetime.datetime | None = None,
) -> Act:
    """Write down, within the caller's transaction if there is one, what it has just done to rows of one kind.

    All of it or nothing is written. `outcome` must say something. `at`: the database's time, if it is known.
    """
    known = {"token": new_token(), "verb": verb, "operator": by.name, "reason": reason}
    act = Act(**known, at=at or database_now())
    act.parameters = dict(parameters or {})
    act.done, act.finished_at = len(rows), act.at
    with transaction.atomic():  # else what dies in between leaves an act without its objects
        return _written(act, by, list(rows), outcome=outcome, at=act.at)


def carry_on(act: Act, seconds: float | None = None) -> int:
    """Deal with the objects that wait, until the time is up; returns how many are left.

    Any number may carry on the same act at once, and each object is dealt with once.
    """
    verb = VERBS.get(act.verb)
    if verb is None:  # begun by a newer version, which will go on with it
        logger.warning("Act %s waits for a version that knows how to %s.", act.pk, act.verb)
        return act.left
    deadline = None if seconds is None else time.monotonic() + seconds
    for key, object_id in list(act.affected.waiting().values_list("pk", "object_id")):
        if deadline is not None and time.monotonic() >= deadline:
            break
        _deal_with(act, verb, key, object_id)
    ended = Act.objects.unfinished().filter(pk=act.pk, total=F("done") + F("refused"))
    ended.update(finished_at=database_now())
    act.refresh_from_db()
    return act.left


def unfinished() -> list[int]:
    """The ids of all acts that somebody has to carry on, the oldest first."""
    return list(Act.objects.unfinished().order_by("at").values_list("pk", flat=True))


def _written(act: Act, by: By, rows: list[Any], **dealt_with: Any) -> Act:
    """Write the act and its objects; with the outcome and the time of these, if they are dealt with."""
    act.user_id, act.address, act.total = by.user_id, by.address, len(rows)
    act.save(force_insert=True)
    affected = (
        ActObject(
            act=act,
            kind=kind_of(type(row)),
            object_id=str(row.pk),
            label=visible(row, LABEL_CHARS)[:LABEL_CHARS],
            **dealt_with,
        )
        for row in rows
    )
    ActObject.objects.bulk_create(affected, batch_size=ROWS_AT_ONCE)
    return act


def _deal_with(act: Act, verb: Verb, key: int, object_id: str) -> None:
    with transaction.atomic():
        # Whoever writes the outcome has the object; a rival waits here, and then finds it taken.
        mine = ActObject.objects.filter(pk=key)
        if not mine.filter(outcome="").update(outcome=verb.done, at=database_now()):
            return
        outcome, is_refusal = _apply(act, verb, object_id)
        if outcome != verb.done:
            mine.update(outcome=outcome, is_refusal=is_refusal)
        counter = "refused" if is_refusal else "done"
        Act.objects.filter(pk=act.pk).update(**{counter: F(counter) + 1})


def _apply(act: Act, verb: Verb, object_id: str) -> tuple[str, bool]:
    """Make the domain call; returns what came of it, and whether that is a refusal, which changes nothing."""
    row = verb.model._default_manager.filter(pk=object_id).first()
    if row is None:
        return "refused: it is not there any more", True
    refusals: tuple[type[Exception], ...] = (Refused, *verb.refusals)
    try:
        with transaction.atomic():
            return verb.do(row, act) or verb.done, False
    except refusals as refusal:
        return f"refused: {visible(refusal, OUTCOME_CHARS)}", True
    except (OperationalError, InterfaceError):
        raise  # the database is away or busy: all of it is tried again
    except Exception as error:  # a mistake with one object must not keep the others waiting
        logger.exception("Act %s: could not %s %s.", act.pk, act.verb, object_id)
        return f"failed: {type(error).__name__}; the service's log has more", True
