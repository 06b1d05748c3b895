import api.clock
import django.db.models.deletion
import django.db.models.expressions
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Act',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('token', models.CharField(max_length=64, unique=True)),
                ('at', models.DateTimeField(default=api.clock.database_now)),
                ('operator', models.CharField(max_length=200)),
                ('address', models.CharField(blank=True, max_length=45)),
                ('verb', models.CharField(max_length=100)),
                ('reason', models.TextField(blank=True)),
                ('parameters', models.JSONField(blank=True, default=dict)),
                ('total', models.PositiveIntegerField()),
                ('done', models.PositiveIntegerField(default=0)),
                ('refused', models.PositiveIntegerField(default=0)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='acts', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'act',
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='ActObject',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(max_length=50)),
                ('object_id', models.CharField(max_length=64)),
                ('label', models.CharField(db_index=True, max_length=300)),
                ('outcome', models.TextField(blank=True)),
                ('is_refusal', models.BooleanField(default=False)),
                ('at', models.DateTimeField(null=True)),
                ('act', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='affected', to='console.act')),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='LoginFailure',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(default=api.clock.database_now)),
                ('name_digest', models.CharField(max_length=64)),
                ('origin', models.CharField(max_length=64)),
            ],
            options={
                'default_permissions': (),
                'indexes': [models.Index(fields=['origin', 'name_digest', 'at'], name='login_failures'), models.Index(fields=['at'], name='login_failures_age')],
            },
        ),
        migrations.AddIndex(
            model_name='act',
            index=models.Index(fields=['-at', '-id'], name='act_newest'),
        ),
        migrations.AddIndex(
            model_name='act',
            index=models.Index(fields=['verb', '-at', '-id'], name='act_by_verb'),
        ),
        migrations.AddIndex(
            model_name='act',
            index=models.Index(fields=['operator', '-at', '-id'], name='act_by_operator'),
        ),
        migrations.AddIndex(
            model_name='act',
            index=models.Index(condition=models.Q(('finished_at__isnull', True)), fields=['at'], name='act_unfinished'),
        ),
        migrations.AddConstraint(
            model_name='act',
            constraint=models.CheckConstraint(condition=models.Q(('total__gte', django.db.models.expressions.CombinedExpression(models.F('done'), '+', models.F('refused')))), name='act_counts_fit'),
        ),
        migrations.AddIndex(
            model_name='actobject',
            index=models.Index(fields=['object_id', 'kind', '-id'], name='acts_of_object'),
        ),
        migrations.AddIndex(
            model_name='actobject',
            index=models.Index(condition=models.Q(('outcome', '')), fields=['act', 'id'], name='act_waiting'),
        ),
        migrations.AddIndex(
            model_name='actobject',
            index=models.Index(fields=['act', '-is_refusal', 'id'], name='objects_of_act'),
        ),
        migrations.AddConstraint(
            model_name='actobject',
            constraint=models.UniqueConstraint(fields=('act', 'object_id'), name='one_object_an_act'),
        ),
    ]
