"""The File object and its requests, as the wire has them. Source: contract.md 1.4 and 6.1."""

from typing import Any

from rest_framework import serializers

from api.clock import unix_seconds
from api.fields import ConstField, ExpiresAfterSerializer, OneOfField, UnixSecondsField
from files.models import File, Purpose

UPLOAD_PURPOSES = [str(purpose) for purpose in Purpose if purpose != Purpose.BATCH_OUTPUT]


class UploadSerializer(serializers.Serializer[Any]):
    """The fields of an upload beside its file."""

    purpose = OneOfField(choices=UPLOAD_PURPOSES)
    expires_after = ExpiresAfterSerializer(required=False)


class UploadFormSerializer(UploadSerializer):
    """The whole form, for the OpenAPI document: the file itself never passes through a serializer."""

    file = serializers.FileField(help_text="Of purpose `batch`: a `.jsonl` file.")


class FileSerializer(serializers.ModelSerializer[File]):
    object = ConstField("file")
    created_at = UnixSecondsField()
    expires_at = UnixSecondsField()
    status = ConstField("processed")
    status_details = serializers.CharField(read_only=True, allow_null=True)

    class Meta:
        model = File
        fields = [
            "id",
            "object",
            "bytes",
            "created_at",
            "expires_at",
            "filename",
            "purpose",
            "status",
            "status_details",
            "sha256",
        ]
        read_only_fields = fields

    def to_representation(self, file: File) -> dict[str, Any]:
        """Written out, because a list holds up to 10,000 of them and the fields above take 0.4 ms each."""
        return {
            "id": file.pk,
            "object": "file",
            "bytes": file.bytes,
            "created_at": unix_seconds(file.created_at),
            "expires_at": unix_seconds(file.expires_at),
            "filename": file.filename,
            "purpose": file.purpose,
            "status": "processed",
            "status_details": None,
            "sha256": file.sha256,
        }


class FilePageSerializer(serializers.Serializer[Any]):
    object = ConstField("list")
    data = FileSerializer(many=True)  # type: ignore[assignment]  # the field, not the property
    first_id = serializers.CharField(allow_null=True)
    last_id = serializers.CharField(allow_null=True)
    has_more = serializers.BooleanField()


class DeletedFileSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = ConstField("file")
    deleted = serializers.BooleanField()
