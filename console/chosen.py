"""How a list is filtered, in words: what an act on all that match, or a table of them, is about."""

from collections.abc import Iterator
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.http import HttpRequest

from console import finding
from console.text import number

EVERYTHING = "no filter: everything"


def told(request: HttpRequest, changelist: Any) -> str:
    """Everything that narrows the list, also what only its address says."""
    chosen = [f"search “{changelist.query}”"] if changelist.query else []
    for spec in changelist.filter_specs:
        chosen += [f"{spec.title}: {name}" for name in _of_filter(request, spec, changelist)]
    chosen += _of_address(changelist)
    if changelist.is_cut:
        chosen.append(f"only the newest {number(finding.MOST_FOUND)} of them")
    return "; ".join(chosen) or EVERYTHING


def _of_filter(request: HttpRequest, spec: Any, changelist: Any) -> list[str]:
    """What is chosen in a filter, in words; nothing when all is."""
    if hasattr(spec, "text"):
        return [spec.text] if spec.text else []
    choices = enumerate(spec.choices(changelist))
    names = [str(choice["display"]) for n, choice in choices if choice["selected"] and n]
    by_hand = spec.value() if isinstance(spec, SimpleListFilter) and not names else None
    # No choice says so, as of a link from another page; unless it is nonsense, which narrows nothing.
    if by_hand and spec.queryset(request, changelist.root_queryset) is not None:
        return [str(by_hand)]
    return names


def _of_address(changelist: Any) -> Iterator[str]:
    of_filters = {name for spec in changelist.filter_specs for name in spec.expected_parameters()}
    for name, values in changelist.get_filters_params().items():
        if name not in of_filters:
            yield f"{name.removesuffix('__exact').replace('__', ' ')}: {', '.join(values)}"
