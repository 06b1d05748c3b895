"""How a list is filtered, in words: what an act on all that match, or a table of them, is about."""

from collections.abc import Iterator
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.http import HttpRequest

EVERYTHING = "no filter: everything"
SIGNS = {"gt": ">", "gte": "≥", "lt": "<", "lte": "≤"}


def told(request: HttpRequest, changelist: Any) -> str:
    """Everything that narrows the list, also what only its address says."""
    chosen = [f"search “{changelist.query}”"] if changelist.query else []
    for spec in changelist.filter_specs:
        chosen += [f"{spec.title}: {name}" for name in _of_filter(request, spec, changelist)]
    chosen += _of_address(changelist)
    if changelist.cut:
        chosen.append(changelist.cut)
    return "; ".join(chosen) or EVERYTHING


def unseen(request: HttpRequest, changelist: Any) -> list[str]:
    """What narrows the list and stands in no tab and in no filter: only its address says it."""
    by_hand = ((spec, _by_hand(request, spec, changelist)) for spec in changelist.filter_specs)
    told = [f"{spec.title}: {value}" for spec, value in by_hand if value]
    return [*told, *_of_address(changelist)]


def _of_filter(request: HttpRequest, spec: Any, changelist: Any) -> list[str]:
    """What is chosen in a filter, in words; nothing when all is."""
    if hasattr(spec, "text"):
        return [spec.text] if spec.text else []
    if by_hand := _by_hand(request, spec, changelist):
        return [by_hand]
    choices = enumerate(spec.choices(changelist))
    return [str(choice["display"]) for n, choice in choices if choice["selected"] and n]


def _by_hand(request: HttpRequest, spec: Any, changelist: Any) -> str:
    """A value that is no choice of its filter, as of a link from another page; not one that narrows nothing."""
    if not isinstance(spec, SimpleListFilter) or hasattr(spec, "text"):
        return ""
    value = spec.value()
    if not value or value in {str(choice) for choice, _ in spec.lookup_choices}:
        return ""
    return str(value) if spec.queryset(request, changelist.root_queryset) is not None else ""


def _of_address(changelist: Any) -> Iterator[str]:
    of_filters = {name for spec in changelist.filter_specs for name in spec.expected_parameters()}
    for name, values in changelist.get_filters_params().items():
        if name not in of_filters:
            field, _, lookup = name.removesuffix("__exact").rpartition("__")
            is_sign = bool(field) and lookup in SIGNS
            named = f"{field} {SIGNS[lookup]}" if is_sign else f"{name.removesuffix('__exact')}:"
            yield f"{named.replace('__', ' ')} {', '.join(values)}"
