"""What the pages of everything that belongs to somebody share: whose it is, and how it is found."""

from typing import Any

from django.db.models import QuerySet, Value
from django.http import HttpRequest

from accounts.models import Account, ExternalUser
from console.finding import newest, together
from console.pages import Look, Typed, begins_with
from console.parts import link, two_lines

MOST_OWNERS = 10  # of each kind, of which a text may be the beginning


class AccountFilter(Typed):
    title = "account"
    parameter_name = "account"
    hint = "name of the account"

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        if not self.text:
            return None
        return rows.filter(account__in=list(Account.objects.filter(name=self.text)))


class ExternalUserFilter(Typed):
    title = "external user"
    parameter_name = "user"
    hint = "id of the user"

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        if not self.text:
            return None
        users = ExternalUser.objects.filter(external_id=self.text)[:MOST_OWNERS]
        return rows.filter(external_user__in=list(users))


class OwnedLook(Look):
    """A page of rows that belong to an account, or to an external user of one.

    Found by the beginning of their id, or by their owner: the owners first, then the newest rows of each.
    """

    id_prefix = ""  # what every id begins with
    list_select_related = ("account", "external_user__account")
    list_filter = [AccountFilter, ExternalUserFilter]
    search_fields = ("id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related(*self.list_select_related)

    def find(self, rows: QuerySet[Any], text: str) -> QuerySet[Any]:
        if text.startswith(self.id_prefix):
            return rows.filter(begins_with("pk", text))
        owners = together(
            [
                Account.objects.filter(begins_with("name", text))
                .order_by()
                .values_list("pk", Value("account"))[:MOST_OWNERS],
                ExternalUser.objects.filter(begins_with("external_id", text))
                .order_by()
                .values_list("pk", Value("external_user"))[:MOST_OWNERS],
            ]
        )
        ways = [
            rows.order_by("-created_at", "-pk")
            .filter(**{field: pk})
            .values_list("pk", "created_at")
            for pk, field in owners
        ]
        return rows.filter(pk__in=newest(ways))

    def owner(self, row: Any) -> Any:
        """Whose it is, each a link to everything of theirs on this page."""
        account = link(row.account.name, f"?account={row.account.name}")
        if row.external_user is None:
            return account
        external_id = row.external_user.external_id
        return two_lines(link(external_id, f"?user={external_id}"), row.account.name)

    owner.short_description = "user"  # type: ignore[attr-defined]  # how Django names a column
