from django.db import migrations

from config.roles import grant

NEW = ["accounts.limit_account", "accounts.limit_externaluser"]


def seed(apps, schema_editor):
    grant(apps, schema_editor.connection.alias, {"operator": NEW, "admin": NEW})


class Migration(migrations.Migration):

    dependencies = [('config', '0001_roles'), ('accounts', '0005_limits')]

    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
