"""Forms that make, change or delete rows: to change or delete one takes a reason, and the operator log has all of it."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.forms import AdminPasswordChangeForm
from django.db.models import Model
from django.http import HttpRequest, HttpResponseRedirect

from console import acts
from console.acts import By
from console.models import kind_of

REASON = "_reason"  # the field of every form that changes a row, beside those of the row
NEEDED = "A reason is needed: it is kept in the operator log."


class Missing(Exception):
    """A row was to be deleted without a reason."""


def reason_in(answers: Any) -> str:
    """The reason that was given with a form; "" for none."""
    return str(answers.get(REASON, "")).replace("\x00", "").strip()[:1000]


class _Form:
    """A form whose labels end without a colon, and that changes no row without a reason."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": ""} | kwargs)

    def clean(self: Any) -> Any:
        cleaned = super().clean()  # type: ignore[misc]
        if not (self.instance._state.adding or reason_in(self.data)):
            self.add_error(None, NEEDED)
        return cleaned


class PasswordForm(AdminPasswordChangeForm):  # type: ignore[type-arg]  # cannot be subscripted when it runs
    """Another operator's new password, which takes a reason, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": ""} | kwargs)
        self.reason = reason_in(self.data)

    def clean(self) -> Any:
        cleaned = super().clean()
        if not self.reason:
            self.add_error(None, NEEDED)
        return cleaned


class Reasoned(admin.ModelAdmin):  # type: ignore[type-arg]  # cannot be subscripted when it runs
    """What a form changes goes into the operator log in the form's own transaction, with the reason given there."""

    def get_form(self, request: Any, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (_Form, form), {})

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        try:
            return super().delete_view(request, object_id, extra_context)
        except Missing:
            messages.error(request, NEEDED)
            return HttpResponseRedirect(request.get_full_path())

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self._log(request, "add", obj, "added")

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self._log(request, "change", obj, _changed(message))

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Raises Missing: Django logs before it deletes, so nothing is deleted then."""
        if not reason_in(request.POST):
            raise Missing
        return [self._log(request, "delete", row, "deleted") for row in queryset]

    def _log(self, request: HttpRequest, verb: str, row: Model, outcome: str) -> Any:
        return acts.record(
            By.request(request),
            f"{verb} {kind_of(self.model)}",
            row,
            outcome=outcome,
            reason=reason_in(request.POST),
        )


def _changed(message: Any) -> str:
    """What a form changed, from Django's list of changes."""
    if isinstance(message, str):
        return message or "nothing changed"
    fields = [str(name) for part in message for name in part.get("changed", {}).get("fields", [])]
    return f"changed: {', '.join(fields)}" if fields else "nothing changed"
