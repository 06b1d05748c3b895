"""Files and the bytes they are made of, to look at: the machine owns every row."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from files.models import Blob, File, FilePart


class ReadOnly:
    """Permissions of an admin whose rows are written by the service alone."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class FilePartInline(ReadOnly, admin.TabularInline):
    model = FilePart
    fields = ["number", "blob", "start", "bytes"]
    ordering = ["number"]
    extra = 0


@admin.register(File)
class FileAdmin(ReadOnly, admin.ModelAdmin):
    list_display = [
        "id",
        "filename",
        "purpose",
        "bytes",
        "account",
        "external_user",
        "created_at",
        "expires_at",
    ]
    list_select_related = ["account", "external_user__account"]
    list_filter = ["purpose", "account"]
    search_fields = ["id", "filename", "sha256"]
    show_full_result_count = False  # with a million rows each of these takes seconds
    show_facets = admin.ShowFacets.NEVER
    ordering = ["-created_at", "-id"]
    fields = [
        ("id", "filename", "purpose"),
        ("account", "external_user"),
        ("bytes", "sha256"),
        ("created_at", "expires_at"),
    ]
    inlines = [FilePartInline]


@admin.register(Blob)
class BlobAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["key", "bytes", "sha256", "created_at"]
    search_fields = ["key", "sha256"]
    ordering = ["-created_at"]
    fields = ["key", "bytes", "sha256", "created_at"]
