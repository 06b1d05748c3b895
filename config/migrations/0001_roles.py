from django.db import migrations

from config.roles import ROLES, grant


def seed(apps, schema_editor):
    grant(apps, schema_editor.connection.alias, ROLES)


class Migration(migrations.Migration):

    # Each brings the last of the permissions that the roles begin with.
    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('contenttypes', '0002_remove_content_type_name'),
        ('accounts', '0002_permissions'),
        ('batches', '0005_pause_priority_rerun_traffic'),
        ('console', '0001_initial'),
        ('files', '0001_initial'),
    ]

    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
