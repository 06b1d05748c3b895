"""Nobody learns from any route that somebody else's object exists.

The routes are read from the URLconf. A route with an id that this file does not know, or a new one
without an id, makes a test fail until it is thought about here.
"""

import dataclasses
import datetime
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import Account, ApiKey, ExternalUser, Owner
from api.clock import database_now
from batches import results, validation
from batches.models import Batch, Status
from files.models import File, Purpose
from tests.batches.factories import reach, run, start, submit
from tests.factories import AccountFactory, FileFactory, client_of
from tests.support.routes import PREFIXES, Route, api_routes

# Routes without an id. Their tests are below: lists show nothing of others, creates take nothing of others.
COLLECTIONS = {f"{prefix}{name}" for prefix in PREFIXES for name in ("files", "batches")}
UNRELATED_HEADERS = {"X-Request-ID", "Date"}
CHAT = "/v1/chat/completions"

pytestmark = pytest.mark.django_db


@dataclasses.dataclass
class Caller:
    """A key, and the user it acts for."""

    client: Client
    user: str | None = None

    def ask(self, method: str, url: str, body: object = None) -> Any:
        headers = {"X-On-Behalf-Of": self.user} if self.user else {}
        if body is None:
            return getattr(self.client, method)(url, headers=headers)
        return self.client.post(url, body, content_type="application/json", headers=headers)


@dataclasses.dataclass
class Tenants:
    """An account with an object of its own and one of its user alice, and everybody else."""

    account: Account
    key: Client
    other_key: Client

    @property
    def alice(self) -> Owner:
        user, _ = ExternalUser.objects.get_or_create(account=self.account, external_id="alice")
        return Owner(self.account, user)

    def owners(self) -> dict[str, Owner]:
        return {"the account": Owner(self.account), "its user alice": self.alice}

    def owner(self, of: str) -> Caller:
        return Caller(self.key, None if of == "the account" else "alice")

    def strangers(self, of: str) -> dict[str, Caller]:
        """Return everybody who must not see what belongs to `of`."""
        everywhere = {
            "another account": Caller(self.other_key),
            "another account's alice": Caller(self.other_key, "alice"),
            "its user bob": Caller(self.key, "bob"),
        }
        if of == "the account":
            return everywhere | {"its user alice": Caller(self.key, "alice")}
        return everywhere | {"the account": Caller(self.key)}


@pytest.fixture
def tenants(db: None) -> Tenants:
    allowed = {"on_behalf_of": ApiKey.OnBehalfOf.ALLOWED}
    account = AccountFactory()
    return Tenants(account, client_of(account, **allowed), client_of(AccountFactory(), **allowed))


# Objects behind ids, in all the states that routes tell apart


def make_file(owner: Owner) -> str:
    return str(FileFactory(owner).pk)


def make_notes(owner: Owner) -> str:
    return str(FileFactory(owner, purpose=Purpose.USER_DATA).pk)


def make_used_file(owner: Owner) -> str:
    return str(make_batch_in(owner, Status.VALIDATING).input_file_id)


def make_output_file(owner: Owner) -> str:
    output = make_batch_in(owner, Status.COMPLETED).output_file_id
    assert output is not None
    return str(output)


def make_error_file(owner: Owner) -> str:
    error = make_batch_in(owner, Status.COMPLETED).error_file_id
    assert error is not None
    return str(error)


def make_batch_in(owner: Owner, status: Status) -> Batch:
    if status == Status.COMPLETED:
        batch = run(start(owner, 2), failing={"0"})
        results.finalize(batch.pk)
        batch.refresh_from_db()
        return batch
    return reach(submit(owner, b"{}\n"), status)


OBJECTS: dict[str, dict[str, Callable[[Owner], str]]] = {
    "file_id": {
        "input": make_file,
        "used": make_used_file,
        "notes": make_notes,
        "output": make_output_file,
        "errors": make_error_file,
    },
    "batch_id": {
        status.value: lambda owner, status=status: str(make_batch_in(owner, status).pk)
        for status in (Status.IN_PROGRESS, Status.COMPLETED, Status.FAILED)
    },
}
RANDOM: dict[str, Callable[[], str]] = {
    "file_id": lambda: "file-" + secrets.token_hex(16),
    "batch_id": lambda: "batch_" + secrets.token_hex(16),
}
WITH_ID = [route for route in api_routes() if route.parameters]


def test_every_route_is_covered() -> None:
    assert WITH_ID
    unknown = {route.path for route in WITH_ID if set(route.parameters) - set(OBJECTS)}
    assert not unknown, "say in OBJECTS what these ids are of"
    without = {route.path for route in api_routes() if not route.parameters}
    assert without == COLLECTIONS, "write tests for these, then name them in COLLECTIONS"


@pytest.mark.parametrize("of", ["the account", "its user alice"])
@pytest.mark.parametrize("route", WITH_ID, ids=lambda route: route.path)
def test_somebody_elses_object_is_as_absent_as_one_that_never_was(
    tenants: Tenants, route: Route, of: str
) -> None:
    (parameter,) = route.parameters
    for kind, make in OBJECTS[parameter].items():
        theirs, never = make(tenants.owners()[of]), RANDOM[parameter]()
        before = snapshot(theirs)
        for name, stranger in tenants.strangers(of).items():
            for method in route.methods:
                seen = answer(stranger, method, route, theirs)
                assert seen[0] == 404, f"{name}: {method} on {kind}"
                assert seen == answer(stranger, method, route, never), f"{name}: {method} on {kind}"
        assert snapshot(theirs) == before
        # The same request is worth something to the owner, so the 404s above were about ownership.
        mine = tenants.owner(of).ask(route.methods[0], route.url(**{parameter: theirs}))
        assert mine.status_code != 404, kind
        mine.getvalue()  # a download is open until it is read


def answer(caller: Caller, method: str, route: Route, object_id: str) -> tuple[Any, ...]:
    """Return all of an answer that a caller can compare, with the id taken out."""
    response = caller.ask(method, route.url(**dict.fromkeys(route.parameters, object_id)))
    headers = {k: v for k, v in response.headers.items() if k not in UNRELATED_HEADERS}
    return response.status_code, response.getvalue().replace(object_id.encode(), b"<id>"), headers


def snapshot(object_id: str) -> dict[str, Any]:
    model: Any = File if object_id.startswith("file-") else Batch
    row: dict[str, Any] = model.objects.filter(pk=object_id).values().get()
    return row


@pytest.mark.parametrize("route", api_routes(), ids=lambda route: route.path)
def test_without_a_key_nothing_is_told_at_all(tenants: Tenants, route: Route) -> None:
    makers = {"file_id": make_file, "batch_id": lambda owner: submit(owner, b"{}\n").pk}
    ids = {parameter: makers[parameter](Owner(tenants.account)) for parameter in route.parameters}
    nobody = Caller(Client())
    for method in route.methods:
        response = nobody.ask(method, route.url(**ids))
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("of", ["the account", "its user alice"])
@pytest.mark.parametrize("path", sorted(COLLECTIONS))
def test_lists_show_nothing_of_others(tenants: Tenants, path: str, of: str) -> None:
    submit(tenants.owners()[of], b"{}\n")
    for stranger in tenants.strangers(of).values():
        page = stranger.ask("get", f"/{path}").json()
        assert page == {
            "object": "list",
            "data": [],
            "first_id": None,
            "last_id": None,
            "has_more": False,
        }
    assert len(tenants.owner(of).ask("get", f"/{path}").json()["data"]) == 1


@pytest.mark.parametrize("of", ["the account", "its user alice"])
@pytest.mark.parametrize("path", sorted(COLLECTIONS))
def test_a_page_after_somebody_elses_object_is_as_absent(
    tenants: Tenants, path: str, of: str
) -> None:
    batch = submit(tenants.owners()[of], b"{}\n")
    is_files = path.endswith("files")
    theirs = batch.input_file_id if is_files else batch.pk
    never = RANDOM["file_id" if is_files else "batch_id"]()
    for stranger in tenants.strangers(of).values():
        pages = [stranger.ask("get", f"/{path}?after={one}") for one in (theirs, never)]
        assert [page.status_code for page in pages] == [404, 404]
        bodies = [
            page.content.replace(one.encode(), b"<id>")
            for page, one in zip(pages, (theirs, never), strict=True)
        ]
        assert bodies[0] == bodies[1]


def test_a_file_is_not_found_by_somebody_elses_content(tenants: Tenants) -> None:
    digest = "ab" * 32
    FileFactory(tenants.account, sha256=digest)
    for stranger in tenants.strangers("the account").values():
        assert stranger.ask("get", f"/v1/files?sha256={digest}").json()["data"] == []


@pytest.mark.parametrize("of", ["the account", "its user alice"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_somebody_elses_input_file_behaves_as_unknown(
    tenants: Tenants, prefix: str, of: str
) -> None:
    theirs, never = make_file(tenants.owners()[of]), RANDOM["file_id"]()
    for stranger in tenants.strangers(of).values():
        assert failure(stranger, prefix, theirs) == failure(stranger, prefix, never)
    File.objects.get(pk=theirs).delete()  # nobody holds it


def failure(caller: Caller, prefix: str, file_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Create a batch, validate it, and return it before and after, without its ids and times."""
    asked = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    made = caller.ask("post", f"/{prefix}batches", asked).json()
    validation.validate(made["id"])
    failed = caller.ask("get", f"/{prefix}batches/{made['id']}").json()
    assert failed["status"] == "failed"
    return comparable(made, file_id), comparable(failed, file_id)


def comparable(batch: dict[str, Any], file_id: str) -> dict[str, Any]:
    assert batch["input_file_id"] == file_id
    if batch["errors"]:
        (error,) = batch["errors"]["data"]
        batch["errors"]["data"] = [error | {"message": error["message"].replace(file_id, "<id>")}]
    own = {"id", "input_file_id"}
    return {k: bool(v) if k.endswith("_at") else v for k, v in batch.items() if k not in own}


def test_an_expired_file_is_as_absent_to_its_owner(tenants: Tenants) -> None:
    past = database_now() - datetime.timedelta(seconds=1)
    gone = FileFactory(tenants.account, expires_at=past)
    owner = tenants.owner("the account")
    never = RANDOM["file_id"]()
    for route in WITH_ID:
        if route.parameters == ["file_id"]:
            for method in route.methods:
                assert answer(owner, method, route, gone.pk) == answer(owner, method, route, never)
