"""Files and the bytes they are made of, to look at: the machine owns every row."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.forms import BaseInlineFormSet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_safe

from accounts.pages import AccountFilter, ExternalUserFilter, OwnedLook
from console import acts
from console.acts import By
from console.pages import Look, ReadOnly, begins_with
from console.parts import badge, moment, page_of, short_id, two_lines
from console.text import size
from files.download import RangeNotSatisfiable, serve
from files.models import Blob, File, FilePart
from files.storage import Missing

READ_CONTENT = "batches.view_content"  # the permission to read prompts and answers, wherever
DOWNLOAD = "download files"  # in the operator log
PARTS = 50  # of a file, that its page shows
LOST = "The storage has lost the bytes of this file."


class FirstParts(BaseInlineFormSet):
    """The first PARTS of a file; `unshown` is how many there are beyond."""

    unshown = 0

    def get_queryset(self) -> Any:
        if not hasattr(self, "first"):
            parts = super().get_queryset()
            self.first = list(parts[:PARTS])
            self.unshown = parts.count() - PARTS if len(self.first) == PARTS else 0
        return self.first


class FilePartInline(ReadOnly, admin.TabularInline):
    model = FilePart
    formset = FirstParts
    fields = ["number", "stored_as", "start", "bytes"]
    readonly_fields = ["stored_as"]
    ordering = ["number"]
    extra = 0

    @admin.display(description="blob")
    def stored_as(self, part: Any) -> Any:
        return part.blob_id  # the row itself would be asked for part by part


@admin.register(File)
class FileAdmin(OwnedLook):
    list_display = ["file", "owner", "used_for", "weight", "created", "expires"]
    list_display_links = None
    list_filter = ["purpose", AccountFilter, ExternalUserFilter]
    search_help_text = "Id, external user or account"
    id_prefix = "file-"
    ordering = ["-created_at", "-id"]
    fields = [
        ("id", "filename", "purpose"),
        ("account", "external_user"),
        ("bytes", "sha256"),
        ("created_at", "expires_at"),
    ]
    inlines = [FilePartInline]
    change_form_template = "files/file.html"
    records = [DOWNLOAD]

    # Its bytes

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_safe(self.content_view))
        content = path("<path:object_id>/content/", view, name="files_file_content")
        return [content, *super().get_urls()]

    def content_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Let an operator who may read content download a file; the log has it before the first byte leaves."""
        file = self.get_object(request, unquote(object_id))
        if not (self.has_view_permission(request, file) and request.user.has_perm(READ_CONTENT)):
            raise PermissionDenied
        if file is None:
            raise Http404
        try:
            response = serve(request, file)
        except RangeNotSatisfiable as refusal:
            return HttpResponse(status=416, headers=dict(refusal.headers))
        except Missing:
            messages.error(request, LOST)
            return HttpResponseRedirect(page_of(file))
        if response.status_code != 304:
            acts.record(By.request(request), DOWNLOAD, file, outcome="downloaded")
        return response

    def shown_of(self, request: HttpRequest, row: File) -> dict[str, Any]:
        may_read = request.user.has_perm(READ_CONTENT)
        return {
            "content": reverse("admin:files_file_content", args=[quote(row.pk)]) if may_read else ""
        }

    # Columns

    @admin.display(description="file")
    def file(self, file: File) -> Any:
        return two_lines(short_id(file.pk, page_of(file)), file.filename)

    @admin.display(description="purpose")
    def used_for(self, file: File) -> Any:
        return badge(file.purpose)

    @admin.display(description="size")
    def weight(self, file: File) -> Any:
        return size(file.bytes)

    @admin.display(description="created")
    def created(self, file: File) -> Any:
        return moment(file.created_at)

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, file: Any) -> Any:
        return moment(file.expires_at, file.seen_at)


@admin.register(Blob)
class BlobAdmin(Look):
    list_display = ["key", "bytes", "sha256", "created_at"]
    search_fields = ["key"]
    search_help_text = "Beginning of the key"
    ordering = ["-created_at"]
    fields = ["key", "bytes", "sha256", "created_at"]

    def find(self, rows: Any, text: str) -> Any:
        return rows.filter(begins_with("key", text))
