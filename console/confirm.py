"""The page between an operator and an act: what exactly will change, how much of it, whose, and why. One for all verbs."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from console import acts
from console.acts import MOST, By, Questions, Verb, counted
from console.models import Act, kind_of
from console.parts import link, page_of
from console.text import number

SECONDS = 2.0  # of an act that the request itself carries out; a task goes on with the rest
SAMPLE = 20  # objects that are named
ANSWERED = "token"  # in the POST of the page, and not in that of the list it comes from


class ReasonForm(forms.Form):
    """What every act needs: why, and the token of the page, so that a second click is no second act."""

    reason = forms.CharField(
        max_length=1000,
        label="Reason",
        help_text="Kept in the operator log, for ever.",
        widget=forms.Textarea(attrs={"rows": 2, "autofocus": True}),
    )
    token = forms.CharField(max_length=64, widget=forms.HiddenInput)


def confirm(
    request: HttpRequest,
    site: Any,
    verb: Verb,
    rows: QuerySet[Any],
    *,
    back: str,
    row: Any = None,
    told: str = "",
    repeated: Iterable[tuple[str, str]] = (),
    suggested: QueryDict | None = None,
) -> HttpResponse:
    """Show what `verb` would do to these rows; once the operator says yes and why, do it and go `back`.

    row: the one whose page it was begun on, which is `back`. told: the choice in words, when the rows are all that
    match a filter. repeated: fields of the form that make the answer reach this function again with the same rows.
    suggested: answers to the verb's own questions.
    Raises PermissionDenied, at the question and at the answer alike.
    """
    if not request.user.has_perm(verb.permission):
        raise PermissionDenied
    answer = request.POST if ANSWERED in request.POST else None
    reason = ReasonForm(answer, initial={"token": acts.new_token()}, label_suffix="")
    questions = _questions(verb, answer, rows, suggested)
    if answer and reason.is_valid() and (questions is None or questions.is_valid()):
        try:
            act = acts.begin(
                verb,
                By.request(request),
                rows,
                parameters=questions.cleaned_data if questions else {},
                **reason.cleaned_data,
            )
        except acts.TooMany:
            pass  # more came to match meanwhile: the page says so
        else:
            return _carried_out(request, site, verb, act, back)
    context = site.each_context(request) | _told_beforehand(verb, rows)
    context |= {"reason": reason, "questions": questions, "back": back, "told": told, "row": row}
    context |= {"repeated": list(repeated), "verb": verb, "opts": verb.model._meta}
    request.current_app = site.name
    return TemplateResponse(request, "console/confirm.html", context)


def _questions(
    verb: Verb, answer: QueryDict | None, rows: QuerySet[Any], suggested: QueryDict | None
) -> Questions | None:
    if verb.form is None:
        return None
    lists = dict(suggested.lists()) if suggested else {}
    initial = {name: values[0] if len(values) == 1 else values for name, values in lists.items()}
    questions = verb.form(answer, prefix="with", label_suffix="", initial=initial)
    questions.about(rows)
    return questions


def _told_beforehand(verb: Verb, rows: QuerySet[Any]) -> dict[str, Any]:
    count = rows.order_by()[: MOST + 1].count()
    is_too_much = count > MOST
    preview = acts.Preview() if is_too_much else verb.preview(rows)
    passed_over = sum(preview.skipped.values())
    acted_on = count - passed_over
    sample = [] if is_too_much else list(rows[:SAMPLE])
    return {
        "title": f"{verb.asked(count)}?",
        "answer": verb.asked(acted_on),
        "count": count,
        "most": MOST,
        "is_too_much": is_too_much,
        "skipped": preview.skipped.items(),
        "passed_over": passed_over,
        "acted_on": acted_on,
        "sums": preview.sums.items(),
        "owners": preview.whose(),
        "sample": [(row, page_of(row)) for row in sample],
        "unnamed": count - len(sample),
        "kind": kind_of(verb.model),
    }


def _carried_out(
    request: HttpRequest, site: Any, verb: Verb, act: Act, back: str
) -> HttpResponseRedirect:
    if acts.carry_on(act, SECONDS):
        site.ring(act)
    level = messages.WARNING if act.refused else messages.SUCCESS
    messages.add_message(request, level, _told_afterwards(request, verb, act))
    return HttpResponseRedirect(back)


def _told_afterwards(request: HttpRequest, verb: Verb, act: Act) -> SafeString:
    parts = [f"{counted(act.done, verb.model)} {verb.done}"] if act.done else []
    parts += [f"{number(act.refused)} refused"] if act.refused else []
    parts += [f"{number(act.left)} still to do, which goes on by itself"] if act.left else []
    text = f"{', '.join(parts) or 'Nothing to do'}."
    if not request.user.has_perm("console.view_act"):
        return format_html("{}", text)
    log = reverse("admin:console_act_change", args=[act.pk])
    return format_html("{} {}", text, link("What became of each", log))
