"""What the pages of everything that belongs to somebody share: whose it is, and how it is found."""

from collections.abc import Sized
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet, Subquery, Value
from django.http import HttpRequest

from accounts.models import Account, ExternalUser
from console.finding import among, together
from console.pages import Look, Typed, begins_with
from console.parts import link, two_lines

MOST_OWNERS = 10  # of each kind, of which a text may be the beginning


class AccountFilter(Typed):
    title = "account"
    parameter_name = "account"
    hint = "name of the account"

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        """By one value, which an index can follow in the order of the list."""
        return rows.filter(account=Subquery(_account(self.text))) if self.text else None


class ExternalUserFilter(Typed):
    """An external user; of one account if that is chosen, too, else of every account that has one of this id."""

    title = "external user"
    parameter_name = "user"
    hint = "id of the user"
    moment = "created_at"  # of the rows, by which the newest of several users' come first

    users: tuple[int, ...] = ()  # of several accounts, who share the id

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        if not self.text:
            return None
        users = ExternalUser.objects.filter(external_id=self.text)
        if account := request.GET.get("account", "").strip():
            ours = users.filter(account=Subquery(_account(account))).values("pk")[:1]
            return rows.filter(external_user=Subquery(ours))
        found = list(users.order_by("pk").values_list("pk", flat=True)[: MOST_OWNERS + 1])
        self.cut = cut_of("users of this id", found)
        found = found[:MOST_OWNERS]
        if len(found) == 1:
            return rows.filter(external_user=found[0])
        self.users = tuple(found)
        return rows.filter(external_user__in=found)

    def finish(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Of several users each is asked for his newest rows: no index has those of all of them in order."""
        each = [rows.filter(external_user=pk) for pk in self.users]
        return among(rows, [_newest_first(one, self.moment) for one in each]) if each else rows


def _account(name: str) -> QuerySet[Any, Any]:
    return Account.objects.filter(name=name).values("pk")[:1]


def cut_of(owners: str, found: Sized) -> str:
    """What is said of owners of whom one more was found than is taken; else nothing."""
    return f"of {owners} only the first {MOST_OWNERS}" if len(found) > MOST_OWNERS else ""


def _owners(text: str) -> tuple[list[tuple[int, str]], str]:
    """Accounts and external users, each with the field that names it: who is called so, and then whose names begin so.

    And what was left out, in words.
    """
    accounts, users = Account.objects.order_by(), ExternalUser.objects.order_by()
    found = together(
        [
            among_them.values_list("pk", Value(field))[: MOST_OWNERS + 1]
            for among_them, field in (
                (accounts.filter(name=text), "account"),
                (users.filter(external_id=text), "external_user"),
                (accounts.filter(begins_with("name", text)), "account"),
                (users.filter(begins_with("external_id", text)), "external_user"),
            )
        ]
    )
    kept = dict.fromkeys((pk, field) for pk, field in found)
    of_accounts, of_users = (
        [one for one in kept if one[1] == kind] for kind in ("account", "external_user")
    )
    cuts = [
        cut_of("accounts whose names begin so", of_accounts),
        cut_of("users whose ids begin so", of_users),
    ]
    return of_accounts[:MOST_OWNERS] + of_users[:MOST_OWNERS], "; ".join(filter(None, cuts))


def _newest_first(rows: QuerySet[Any], moment: str = "created_at") -> QuerySet[Any, Any]:
    return rows.order_by(f"-{moment}", "-pk").values_list("pk", moment)


class OwnedLook(Look):
    """A page of rows that belong to an account, or to an external user of one.

    Found by the beginning of their id, by their owner, or in the further ways of a page.
    """

    id_prefix: str  # what every id begins with
    list_select_related = ("account", "external_user__account")
    list_filter = [AccountFilter, ExternalUserFilter]
    begun = ("account", "user")
    search_fields = ("id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related(*self.list_select_related)

    def find(self, rows: QuerySet[Any], text: str) -> QuerySet[Any]:
        return among(rows, *self.ways(rows, text))

    def ways(self, rows: QuerySet[Any], text: str) -> tuple[list[QuerySet[Any, Any]], str]:
        """What a text may mean: for each way the keys and times of those of the rows it finds, the newest first.

        And which ways were left out, in words.
        """
        if text == self.id_prefix:
            return [_newest_first(rows)], ""
        if text.startswith(self.id_prefix):
            return [_newest_first(rows.filter(begins_with("pk", text)))], ""
        owners, cut = _owners(text)
        return [_newest_first(rows.filter(**{field: pk})) for pk, field in owners], cut

    def owner(self, row: Any) -> Any:
        """Whose it is, each a link to everything of theirs on this page."""
        of_account = {"account": row.account.name}
        account = link(row.account.name, f"?{urlencode(of_account)}")
        if row.external_user is None:
            return account
        external_id = row.external_user.external_id
        of_user = of_account | {"user": external_id}
        return two_lines(link(external_id, f"?{urlencode(of_user)}"), account)

    owner.short_description = "user"  # type: ignore[attr-defined]  # how Django names a column
