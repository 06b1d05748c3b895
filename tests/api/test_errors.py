import pytest
from django.core import exceptions as django
from django.db import OperationalError
from django.http import Http404, UnreadablePostError
from django.test import Client
from rest_framework import exceptions as rest
from rest_framework import serializers

from api.errors import Conflict, api_error, exception_handler, invalid_value
from api.fields import ExpiresAfterSerializer, IntegerField, OneOfField, StringField
from tests.factories import error_of

ADMIN_404 = "/admin/nothing/"


class Inner(serializers.Serializer[None]):
    text = StringField(max_length=3)


class Outer(serializers.Serializer[None]):
    number = IntegerField(1, 9)
    word = OneOfField(choices=lambda: ["a", "b", "c"])
    inner = Inner()
    when = ExpiresAfterSerializer(required=False, allow_null=True)


GOOD = {"number": 1, "word": "a", "inner": {"text": "x"}}


@pytest.mark.parametrize(
    ("change", "message", "param", "code"),
    [
        (
            {"number": "5"},
            "Invalid type for 'number': expected an integer, but got a string instead.",
            "number",
            "invalid_type",
        ),
        (
            {"number": True},
            "Invalid type for 'number': expected an integer, but got a boolean instead.",
            "number",
            "invalid_type",
        ),
        (
            {"number": 10},
            (
                "Invalid 'number': integer above maximum value. "
                "Expected a value <= 9, but got 10 instead."
            ),
            "number",
            "integer_above_max_value",
        ),
        (
            {"word": "A"},
            "Invalid value: 'A'. Supported values are: 'a', 'b', and 'c'.",
            "word",
            "invalid_value",
        ),
        (
            {"inner": {"text": 5}},
            "Invalid type for 'inner.text': expected a string, but got an integer instead.",
            "inner.text",
            "invalid_type",
        ),
        (
            {"inner": {}},
            "Missing required parameter: 'inner.text'.",
            "inner.text",
            "missing_required_parameter",
        ),
        (
            {"when": {"anchor": "created_at", "seconds": 1}},
            (
                "Invalid 'when.seconds': integer below minimum value. "
                "Expected a value >= 3600, but got 1 instead."
            ),
            "when.seconds",
            "integer_below_min_value",
        ),
    ],
)
def test_a_wrong_field_is_told_in_openais_words(
    change: dict[str, object], message: str, param: str, code: str
) -> None:
    with pytest.raises(rest.APIException) as refused:
        Outer(data=GOOD | change).is_valid(raise_exception=True)

    error = api_error(refused.value)
    assert error is not None
    assert (error.message, error.param, error.code) == (message, param, code)


@pytest.mark.parametrize("change", [{"inner": []}, {"inner": None}, {"inner": {"text": "long"}}])
def test_the_frameworks_own_errors_name_their_field(change: dict[str, object]) -> None:
    with pytest.raises(rest.APIException) as refused:
        Outer(data=GOOD | change).is_valid(raise_exception=True)

    error = api_error(refused.value)
    assert error is not None
    assert (error.param or "").startswith("inner")


def test_two_supported_values_are_listed_without_a_comma() -> None:
    assert "are: 'a' and 'b'." in invalid_value("x", "c", ["a", "b"]).message


@pytest.mark.parametrize(
    ("exception", "status"),
    [
        (Http404(), 404),
        (rest.NotFound(), 404),
        (django.PermissionDenied(), 403),
        (rest.PermissionDenied(), 403),
        (rest.MethodNotAllowed("PUT"), 405),
        (rest.NotAcceptable(), 406),
        (rest.UnsupportedMediaType("text/plain"), 415),
        (rest.Throttled(), 429),
        (rest.ParseError(), 400),
        (django.RequestDataTooBig(), 413),
        (django.TooManyFieldsSent(), 400),
        (django.TooManyFilesSent(), 400),
        (django.SuspiciousOperation(), 400),
        (django.BadRequest(), 400),
        (UnreadablePostError(), 400),
        (OperationalError(), 503),
    ],
)
def test_every_refusal_has_its_status(exception: Exception, status: int) -> None:
    error = api_error(exception)

    assert error is not None
    assert error.status_code == status
    assert error.message


def test_a_bug_is_not_told_to_the_caller() -> None:
    assert api_error(RuntimeError("secret")) is None
    assert exception_handler(RuntimeError("secret"), {}) is None


def test_a_conflict_is_not_sent_again() -> None:
    response = exception_handler(Conflict("no"), {})

    assert response is not None
    assert response["x-should-retry"] == "false"


def test_a_bug_answers_500_in_the_envelope(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr("files.views.page", fail)

    response = api.get("/v1/files")

    error = error_of(response)
    assert (response.status_code, error["type"]) == (500, "api_error")
    assert b"secret" not in response.content


def test_a_database_that_is_away_answers_503(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("accounts.models.ApiKeyQuerySet.find", fail)

    response = api.get("/v1/files")

    assert (response.status_code, error_of(response)["type"]) == (503, "api_error")
    assert int(response["Retry-After"]) <= 120


@pytest.mark.parametrize("path", ["/nothing", "/v1/files/", "/v1/", "/admin", "/api/v1/llm/x/y"])
def test_an_unknown_path_answers_404_in_the_envelope(path: str, client: Client) -> None:
    response = client.get(path)

    assert (response.status_code, error_of(response)["code"]) == (404, "unknown_url")


@pytest.mark.django_db
def test_the_admin_keeps_its_pages(admin_client: Client) -> None:
    response = admin_client.get(ADMIN_404)

    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


def test_every_answer_has_its_own_request_id(client: Client) -> None:
    ids = {client.get("/livez", headers={"X-Request-ID": "mine"})["X-Request-ID"] for _ in range(3)}

    assert len(ids) == 3
    assert all(request_id.startswith("req_") and len(request_id) == 36 for request_id in ids)
