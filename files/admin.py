"""Files and the bytes they are made of, to look at: the machine owns every row."""

from typing import Any

from django.contrib import admin

from accounts.pages import AccountFilter, ExternalUserFilter, OwnedLook
from console.pages import Look, ReadOnly, begins_with
from console.parts import badge, moment, page_of, short_id, two_lines
from console.text import size
from files.models import Blob, File, FilePart


class FilePartInline(ReadOnly, admin.TabularInline):
    model = FilePart
    fields = ["number", "blob", "start", "bytes"]
    ordering = ["number"]
    extra = 0


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
