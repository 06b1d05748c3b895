from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('batches', '0002_pace'),
    ]

    operations = [
        migrations.AddField(
            model_name='shard',
            name='deaths',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddIndex(
            model_name='shard',
            index=models.Index(condition=models.Q(('deaths__gt', 0)), fields=['deaths'], name='shard_died'),
        ),
    ]
