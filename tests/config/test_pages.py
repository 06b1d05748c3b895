import re

import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import Client


@pytest.mark.parametrize("path", ["/", "/docs/"])
def test_a_page_loads_nothing_from_elsewhere_and_runs_nothing_inline(
    path: str, client: Client
) -> None:
    page = client.get(path).content.decode()

    assert "Longshore" in page
    assert re.findall(r'(?:src|href)="(?:https?:)?//', page) == []
    assert re.findall(r"<script(?![^>]*src=)", page) == []
    assert " onload=" not in page


@pytest.mark.django_db  # closing a streamed answer looks after the connection
def test_everything_the_docs_page_loads_is_there(client: Client) -> None:
    page = client.get("/docs/").content.decode()

    sources = re.findall(r'(?:src|href)="(/[^"]+|\?[^"]+)"', page)
    assert len(sources) >= 3
    for source in sources:
        response = client.get(source if source.startswith("/") else f"/docs/{source}")
        assert response.status_code == 200, source
        b"".join(response) if response.streaming else response.content
        response.close()


def test_the_openapi_document_is_public_and_describes_each_operation_once(client: Client) -> None:
    document = client.get("/openapi.json").json()

    operations = [
        operation["operationId"]
        for path in document["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    ]
    files = {"list_files", "upload_file", "retrieve_file", "delete_file", "download_file"}
    assert files <= set(operations)
    assert len(operations) == len(set(operations))
    assert all(path.startswith("/api/v1/llm/") for path in document["paths"])


def test_livez_asks_nothing_of_anybody(client: Client) -> None:
    assert client.get("/livez").json() == {"status": "ok"}


@pytest.mark.django_db
def test_readyz_tells_what_is_in_order(client: Client) -> None:
    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.json()["checks"] == {"database": "ok", "storage": "ok"}


@pytest.mark.django_db
def test_readyz_names_a_storage_that_cannot_be_written(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    (tmp_path / "file").write_text("not a directory")  # type: ignore[operator]
    monkeypatch.setattr(settings, "STORAGE_DIR", tmp_path / "file" / "x")  # type: ignore[operator]

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json()["checks"]["storage"].startswith("cannot be written")


@pytest.mark.django_db
def test_readyz_names_a_database_that_is_away(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError

    monkeypatch.setattr("config.health.connection.cursor", fail)

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json()["checks"]["database"] == "does not answer"


@pytest.mark.parametrize("model", ["schedule", "success", "failure", "ormq"])
def test_the_queue_cannot_be_edited_in_a_browser(model: str, admin_client: Client) -> None:
    for path in (f"/admin/django_q/{model}/", f"/admin/django_q/{model}/add/"):
        assert admin_client.get(path).status_code == 404
        assert admin_client.post(path, {"func": "os.system"}).status_code == 404
