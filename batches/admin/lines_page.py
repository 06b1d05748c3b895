"""The lines of a batch: which they are and what became of them; for those who may read content, each as it was sent and answered."""

from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_safe

from accounts.pages import OwnedLook
from batches import acts, inspection, looks
from batches.inspection import LineDetail, Place, Wanted
from batches.models import TERMINAL, Batch
from console.acts import By
from console.parts import page_of
from console.text import duration, size

LINES = 50  # a page
BACK = 20  # pages that one can go back
SEARCH_CHARS = 200
STATES = {
    "": "All",
    "waiting": "Waiting",
    "running": "Running",
    "completed": "Completed",
    "failed": "Failed",
}
TONES = {
    "waiting": "idle",
    "running": "live",
    "completed": "good",
    "failed": "bad",
    "lost": "warn",
}


class LinesPage(OwnedLook):
    """The pages of a batch's lines; the page of the batch itself is a subclass."""

    def get_urls(self) -> list[URLPattern]:
        lines, line = (
            self.admin_site.admin_view(require_safe(view))
            for view in (self.lines_view, self.line_view)
        )
        return [
            path("<path:object_id>/lines/", lines, name="batches_batch_lines"),
            path("<path:object_id>/lines/<str:place>/", line, name="batches_batch_line"),
            *super().get_urls(),
        ]

    def batch_or_404(self, request: HttpRequest, object_id: str) -> Any:
        if not self.has_view_permission(request):
            raise PermissionDenied
        batch = self.get_object(request, unquote(object_id))
        if batch is None:
            raise Http404
        return batch

    def lines_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """A page of lines, from a place on. One look goes only so far; the page says so and leads on."""
        batch = self.batch_or_404(request, object_id)
        wanted, start, back = _wanted(request), _start(request, batch), _back(request)
        page = inspection.lines(batch, wanted, start or Place(), LINES)
        chosen = {"state": wanted.state or "", "cause": wanted.cause, "q": wanted.custom_id}
        verb = acts.REQUEUE_LINES
        context = self._context(request, batch) | {
            "title": "Lines",
            "lines": [_row(line) for line in page.lines],
            "wanted": wanted,
            "tabs": [
                (
                    name,
                    _query(chosen | {"state": state, "cause": ""}),
                    (wanted.state or "") == state,
                )
                for state, name in STATES.items()
            ],
            "is_narrowed": any(chosen.values()),
            "without_cause": _query(chosen | {"cause": ""}),
            "first": _query(chosen) if start else "",
            "previous": _query(chosen | _from(back[-1], back[:-1])) if back else "",
            "more": (
                _query(chosen | _from(page.more, [*back, start or Place()])) if page.more else ""
            ),
            "chosen": [(name, value) for name, value in chosen.items() if value],
            "may_read": request.user.has_perm("batches.view_content"),
            "verb": verb if verb in self.verbs_for(request, batch) else None,
            "may_choose": verb in self.verbs_for(request, batch)
            and any(line.state == "failed" for line in page.lines),
            "ask_url": page_of(batch).replace("/change/", f"/do/{verb.slug}/"),
            "is_active": batch.status not in TERMINAL,
        }
        return TemplateResponse(request, "batches/lines.html", context)

    def line_view(self, request: HttpRequest, object_id: str, place: str) -> HttpResponse:
        """The request and the answer of one line; a piece for a dialog, or a page. The log has it before it is shown."""
        batch = self.batch_or_404(request, object_id)
        if not request.user.has_perm("batches.view_content"):
            raise PermissionDenied
        where = _place(place)
        detail = inspection.line(batch, where) if where else None
        if detail is None:
            raise Http404
        looks.at_line(By.request(request), batch, detail.row.number)
        context = {"line": _row(detail.row), "parts": _parts(detail)}
        if request.headers.get("X-Requested-With") == "dialog":
            return TemplateResponse(request, "batches/line_piece.html", context)
        context |= self._context(request, batch) | {"title": f"Line {detail.row.number:,}"}
        return TemplateResponse(request, "batches/line.html", context)

    def _context(self, request: HttpRequest, batch: Batch) -> dict[str, Any]:
        request.current_app = self.admin_site.name
        context: dict[str, Any] = self.admin_site.each_context(request)
        return context | {
            "opts": self.opts,
            "batch": batch,
            "name": self.admin_site.name_of(self.model),
            "batch_url": page_of(batch),
            "lines_url": self._url("lines", batch),
        }

    def _url(self, what: str, batch: Batch) -> str:
        return reverse(f"admin:batches_batch_{what}", args=[quote(batch.pk)])


def _wanted(request: HttpRequest) -> Wanted:
    """Which lines, as the address says; what it cannot mean is left out."""
    state: Any = request.GET.get("state", "")
    return Wanted(
        state=state if state in STATES and state else None,
        cause=request.GET.get("cause", "")[:SEARCH_CHARS],
        custom_id=request.GET.get("q", "").strip()[:SEARCH_CHARS],
    )


def _place(text: str) -> Place | None:
    try:
        return Place.parse(text)
    except ValueError:
        return None


def _start(request: HttpRequest, batch: Batch) -> Place | None:
    """Where the page begins: at the line of a number, or at a place; None at the beginning."""
    line = request.GET.get("line", "")
    if line.isascii() and line.isdecimal():
        return inspection.place_of(batch, int(line[:9]))
    return _place(request.GET.get("from", ""))


def _back(request: HttpRequest) -> list[Place]:
    """Where the pages before began, the last one last."""
    places = [_place(text) for text in request.GET.get("back", "").split("-")[-BACK:]]
    return [place for place in places if place]


def _from(start: Place, back: list[Place]) -> dict[str, str]:
    """The parameters of a page: where it begins, and where those before it did."""
    where = "" if start == Place() else str(start)
    return {"from": where, "back": "-".join(map(str, back[-BACK:]))}


def _query(parameters: dict[str, str]) -> str:
    return "?" + urlencode({name: value for name, value in parameters.items() if value})


def _row(line: inspection.LineRow) -> dict[str, Any]:
    latency = None if line.latency_ms is None else duration(line.latency_ms / 1000)
    return {"line": line, "tone": TONES[line.state], "latency": latency}


def _parts(detail: LineDetail) -> list[dict[str, str]]:
    """The request and the answer, as blocks of text with their sizes; empty where there is nothing to show."""
    contents = [("Request", detail.request), ("Answer", detail.answer)]
    return [
        {
            "name": name,
            "size": "" if content is None else size(len(content)),
            "text": "" if content is None else inspection.pretty(content),
        }
        for name, content in contents
    ]
