"""What operators may do, in four groups. They are seeded once; an installation may change them afterwards.

viewer    looks at everything but prompts, answers and the operator log
operator  and acts on batches, upstreams, accounts and keys, and sets limits; reads the operator log
auditor   a viewer who also reads prompts, answers and the operator log, and changes nothing
admin     everything; alone makes keys, accounts, upstreams, and operators
"""

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth.management import create_permissions

VIEWER = frozenset(
    {
        "accounts.view_account",
        "accounts.view_apikey",
        "accounts.view_externaluser",
        "batches.view_batch",
        "batches.view_batchminute",
        "batches.view_engine",
        "batches.view_host",
        "batches.view_ownerhour",
        "batches.view_pace",
        "batches.view_segment",
        "batches.view_shard",
        "batches.view_share",
        "batches.view_trafficslice",
        "batches.view_transition",
        "batches.view_upstream",
        "files.view_blob",
        "files.view_file",
        "files.view_filepart",
    }
)
OPERATOR = VIEWER | {
    "accounts.limit_account",
    "accounts.limit_externaluser",
    "accounts.revoke_apikey",
    "accounts.suspend_account",
    "accounts.suspend_externaluser",
    "batches.cancel_batch",
    "batches.expire_batch",
    "batches.export_batch",
    "batches.pause_batch",
    "batches.pause_upstream",
    "batches.prioritize_batch",
    "batches.requeue_batch",
    "batches.test_upstream",
    "console.view_act",
}
AUDITOR = VIEWER | {"batches.view_content", "console.view_act"}
ADMIN = (
    OPERATOR
    | AUDITOR
    | {"auth.view_group", "auth.add_group", "auth.change_group", "auth.delete_group"}
    | {"auth.view_user", "auth.add_user", "auth.change_user", "auth.delete_user"}
    | {"accounts.add_account", "accounts.change_account"}
    | {"accounts.add_apikey", "accounts.change_apikey"}
    | {"batches.add_upstream", "batches.change_upstream", "batches.delete_upstream"}
)
ROLES: Mapping[str, frozenset[str]] = {
    "viewer": VIEWER,
    "operator": OPERATOR,
    "auditor": AUDITOR,
    "admin": ADMIN,
}


def grant(apps: Any, alias: str, roles: Mapping[str, Iterable[str]]) -> None:
    """Give each role these permissions (as app.codename), besides those it has.

    For migrations: `apps` as the migration sees them. A permission of a model or a Meta that comes with a later
    migration is left out; that one grants it. What an installation took away is given only when it is named.
    """
    for label in sorted({name.partition(".")[0] for names in roles.values() for name in names}):
        config = apps.get_app_config(label)
        config.models_module = (
            True  # Django makes permissions after the last migration, and only where it sees this
        )
        create_permissions(config, verbosity=0, interactive=False, using=alias, apps=apps)
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    known = {
        f"{one.content_type.app_label}.{one.codename}": one
        for one in permissions.select_related("content_type")
    }
    for role, names in roles.items():
        group, _ = apps.get_model("auth", "Group").objects.using(alias).get_or_create(name=role)
        group.permissions.add(*(known[name] for name in names if name in known))
