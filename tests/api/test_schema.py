"""The OpenAPI document says what the service does, no more and no less; its page needs no other host."""

import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from accounts.models import Account
from api.errors import ApiError
from batches.models import Batch, Status
from tests.batches.factories import reach, submit
from tests.factories import FileFactory
from tests.support.routes import PARAMETER, api_routes

GATEWAY = "api/v1/llm/"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    written = io.StringIO()
    # Every warning is a failure: a part of the API nobody would find in the document.
    call_command(
        "spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json", stdout=written
    )
    found: dict[str, Any] = json.loads(written.getvalue())
    return found


def test_the_served_document_is_the_checked_one(document: dict[str, Any]) -> None:
    answer = Client().get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == document


def test_the_document_has_every_route_and_no_other(document: dict[str, Any]) -> None:
    served = {
        (path_of(route.path), method)
        for route in api_routes()
        if route.path.startswith(GATEWAY)
        for method in route.methods
        if method != "head"
    }
    documented = {
        (path, method) for path, methods in document["paths"].items() for method in methods
    }
    assert documented == served


def test_both_prefixes_answer_the_same() -> None:
    gateway = {
        (r.path.removeprefix(GATEWAY), r.view.cls)
        for r in api_routes()
        if r.path.startswith(GATEWAY)
    }
    short = {
        (r.path.removeprefix("v1/"), r.view.cls) for r in api_routes() if r.path.startswith("v1/")
    }
    assert gateway == short


def path_of(path: str) -> str:
    return "/" + PARAMETER.sub(r"{\1}", path)


def test_every_operation_needs_a_key_and_documents_its_refusals(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["security"] == [{"ApiKey": []}], (path, method)
            assert {"200", "401", "403", "503"} <= set(operation["responses"]), (path, method)
            names = {parameter["name"] for parameter in operation["parameters"]}
            assert "X-On-Behalf-Of" in names, (path, method)
            for status, answer in operation["responses"].items():
                if status >= "400":
                    (shape,) = answer["content"].values()
                    assert shape["schema"]["$ref"].endswith("/ErrorEnvelope"), (path, status)


# Shapes: the documented keys, in order, are those that are sent


def assert_documented(document: dict[str, Any], name: str, sent: dict[str, Any]) -> None:
    """Compare an object with its component, and everything inside that has one of its own."""
    component = document["components"]["schemas"][name]
    assert list(component["properties"]) == list(sent)
    assert sorted(component["required"]) == sorted(sent), "every key is always there"
    for key, value in sent.items():
        if isinstance(value, dict) and (inner := component_of(component["properties"][key])):
            assert_documented(document, inner, value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            inner = component_of(component["properties"][key]["items"])
            assert inner is not None
            assert_documented(document, inner, value[0])


def component_of(schema: dict[str, Any]) -> str | None:
    """Return the name of the component a property refers to, also through `allOf` and `oneOf`."""
    for option in (schema, *schema.get("allOf", ()), *schema.get("oneOf", ())):
        if "$ref" in option:
            return str(option["$ref"]).rpartition("/")[2]
    return None


def test_files_are_sent_as_documented(
    document: dict[str, Any], api: Client, account: Account
) -> None:
    file = FileFactory(account)
    assert_documented(document, "File", api.get(f"/v1/files/{file.pk}").json())
    assert_documented(document, "FilePage", api.get("/v1/files").json())
    assert_documented(document, "DeletedFile", api.delete(f"/v1/files/{file.pk}").json())


def test_batches_are_sent_as_documented(
    document: dict[str, Any], api: Client, account: Account
) -> None:
    batch = reach(submit(account, b"{}\n"), Status.FAILED)
    problem = {"code": "c", "message": "m", "param": None, "line": 1}
    Batch.objects.filter(pk=batch.pk).update(errors=[problem])
    assert_documented(document, "Batch", api.get(f"/v1/batches/{batch.pk}").json())
    assert_documented(document, "BatchPage", api.get("/v1/batches").json())


def test_refusals_are_sent_as_documented(document: dict[str, Any]) -> None:
    assert_documented(document, "ErrorEnvelope", ApiError("wrong").envelope)


# The page


class Page(HTMLParser):
    """What a page loads, and what it runs by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.loaded += [str(found[name]) for name in ("src", "href") if name in found]
        self.inline += [name for name in found if name.startswith("on")]
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.inline.append(data)


def test_the_docs_page_loads_nothing_from_elsewhere_and_runs_nothing_inline() -> None:
    client = Client()
    page = Page(client.get("/docs/").content.decode())
    assert page.loaded
    assert page.inline == []
    for address in page.loaded:
        assert re.match(r"/(?!/)|\?", address), address
        answer = client.get(address if address.startswith("/") else f"/docs/{address}")
        assert answer.status_code == 200, address
        answer.getvalue()  # a file is open until it is read


def test_the_docs_script_names_no_other_host() -> None:
    page = Page(Client().get("/docs/").content.decode())
    (script,) = (address for address in page.loaded if address.startswith(("?", "/docs/")))
    text = Client().get(script if script.startswith("/") else f"/docs/{script}").content.decode()
    assert "SwaggerUIBundle(" in text
    assert not re.search(r"https?://(?!testserver/)", text)
    assert "BaseLayout" in text  # the other layout shows the badge of a validator on another host
