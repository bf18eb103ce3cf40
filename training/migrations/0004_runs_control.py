import annotation.ids
import django.db.models.deletion
import django.utils.timezone
import time
from django.conf import settings
from django.db import migrations, models

from training import guard


def forget_workers(apps, schema_editor):
    """They tell of themselves again within seconds, with what this version asks."""
    apps.get_model("training", "Worker").objects.all().delete()


def keep_the_order(apps, schema_editor):
    """Runs that wait keep the place that their age gave them."""
    for run in apps.get_model("training", "Run").objects.only("pk", "created_at").iterator():
        type(run).objects.filter(pk=run.pk).update(place=run.created_at.timestamp(), queued_at=run.created_at)


def watch(apps, schema_editor):
    """The database's own watch over the lifecycle, from the table in `training.models.runs`."""
    guard.install(schema_editor.connection)


def unwatch(apps, schema_editor):
    guard.remove(schema_editor.connection)


class Migration(migrations.Migration):
    """Control of runs: their order and copies, drained workers, notices with their outbox, the lifecycle's triggers."""

    dependencies = [
        ('annotation', '0011_corrections'),
        ('training', '0003_jobs_leaks_and_erasure'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunPython(forget_workers, migrations.RunPython.noop),
        migrations.CreateModel(
            name='Delivery',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('state', models.CharField(choices=[('waiting', 'waiting'), ('sent', 'sent'), ('failed', 'given up')], default='waiting', max_length=8)),
                ('tries', models.PositiveSmallIntegerField(default=0)),
                ('next_at', models.DateTimeField(default=django.utils.timezone.now, help_text="Not before; by the database's clock")),
                ('answer', models.CharField(blank=True, default='', help_text='What the last try came to', max_length=300)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['-created_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='Drain',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('node', models.CharField(max_length=120, unique=True)),
                ('how', models.CharField(choices=[('finish', 'let it finish what it runs'), ('hand_back', 'save and hand back what it runs')], default='finish', max_length=16)),
                ('why', models.CharField(blank=True, default='', max_length=200)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'ordering': ['node'],
            },
        ),
        migrations.CreateModel(
            name='Notice',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('succeeded', 'A run succeeded'), ('failed', 'A run failed'), ('cancelled', 'A run was cancelled'), ('paused', 'A fault paused a run'), ('stuck', 'A run waits and no worker takes it'), ('webhook_disabled', 'A webhook was switched off'), ('test', 'A test')], max_length=24)),
                ('key', models.CharField(help_text='What happened, so that it is told once', max_length=120, unique=True)),
                ('detail', models.JSONField(default=dict, help_text='Names and reasons as they were then')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'ordering': ['-created_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='NoticeChoice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('ends', models.BooleanField(default=False)),
                ('needs_a_person', models.BooleanField(default=False)),
                ('only_mine', models.BooleanField(default=False)),
            ],
        ),
        migrations.CreateModel(
            name='NoticeRead',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name='Webhook',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('url', models.CharField(max_length=500)),
                ('kinds', models.JSONField(default=list)),
                ('salt', models.CharField(max_length=64)),
                ('is_enabled', models.BooleanField(default=True)),
                ('disabled_why', models.CharField(blank=True, default='', max_length=200)),
                ('failures', models.PositiveIntegerField(default=0, help_text='In a row, since the last that went through')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'ordering': ['created_at', 'id'],
            },
        ),
        migrations.RemoveIndex(
            model_name='run',
            name='run_queue',
        ),
        migrations.RemoveField(
            model_name='worker',
            name='queue',
        ),
        migrations.RemoveField(
            model_name='worker',
            name='run',
        ),
        migrations.AddField(
            model_name='checkpoint',
            name='set_aside',
            field=models.BooleanField(default=False, help_text='Someone went back to an earlier one, so no attempt goes on from here by itself'),
        ),
        migrations.AddField(
            model_name='run',
            name='cloned_from',
            field=models.ForeignKey(blank=True, help_text='Copied from it', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='clones', to='training.run'),
        ),
        migrations.AddField(
            model_name='run',
            name='place',
            field=models.FloatField(default=time.time, help_text='Order within a priority: the moment it was asked for, until someone moves it'),
        ),
        migrations.AddField(
            model_name='run',
            name='queued_at',
            field=models.DateTimeField(default=django.utils.timezone.now, help_text='Since when it waits, or waited last'),
        ),
        migrations.AddField(
            model_name='worker',
            name='gpu_memory_bytes',
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='worker',
            name='gpu_memory_used_bytes',
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='worker',
            name='memory_bytes',
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='worker',
            name='memory_used_bytes',
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='worker',
            name='node',
            field=models.CharField(default='', help_text='Lasts over restarts, such as gpu@host', max_length=120),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='worker',
            name='queues',
            field=models.CharField(default='', help_text='What it listens on, separated by commas', max_length=200),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='worker',
            name='slots',
            field=models.PositiveSmallIntegerField(default=1, help_text='Runs at a time'),
        ),
        migrations.AddField(
            model_name='worker',
            name='threads',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name='worker',
            name='name',
            field=models.CharField(help_text='Its node and its process number', max_length=120, unique=True),
        ),
        migrations.AddIndex(
            model_name='run',
            index=models.Index(condition=models.Q(('state', 'queued')), fields=['queue', '-priority', 'place'], name='run_queue'),
        ),
        migrations.AddIndex(
            model_name='worker',
            index=models.Index(fields=['node'], name='worker_node'),
        ),
        migrations.AddField(
            model_name='delivery',
            name='user',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='drain',
            name='by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='notice',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='notices', to='annotation.project'),
        ),
        migrations.AddField(
            model_name='notice',
            name='run',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='notices', to='training.run'),
        ),
        migrations.AddField(
            model_name='delivery',
            name='notice',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='training.notice'),
        ),
        migrations.AddField(
            model_name='noticechoice',
            name='user',
            field=models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='notice_choice', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='noticeread',
            name='notice',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='reads', to='training.notice'),
        ),
        migrations.AddField(
            model_name='noticeread',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='webhook',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='webhook',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='webhooks', to='annotation.project'),
        ),
        migrations.AddField(
            model_name='delivery',
            name='webhook',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='training.webhook'),
        ),
        migrations.AddConstraint(
            model_name='drain',
            constraint=models.CheckConstraint(condition=models.Q(('how__in', ['finish', 'hand_back'])), name='drain_how_known'),
        ),
        migrations.AddIndex(
            model_name='notice',
            index=models.Index(fields=['project', '-created_at'], name='notice_project'),
        ),
        migrations.AddConstraint(
            model_name='notice',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['succeeded', 'failed', 'cancelled', 'paused', 'stuck', 'webhook_disabled', 'test'])), name='notice_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='noticeread',
            constraint=models.UniqueConstraint(fields=('notice', 'user'), name='notice_read_once'),
        ),
        migrations.AddConstraint(
            model_name='webhook',
            constraint=models.UniqueConstraint(fields=('project', 'url'), name='webhook_once_a_project'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('state', 'waiting')), fields=['next_at'], name='delivery_due'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.UniqueConstraint(fields=('notice', 'webhook'), name='delivery_once_a_webhook'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.UniqueConstraint(fields=('notice', 'user'), name='delivery_once_a_person'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('user__isnull', True), ('webhook__isnull', False)), models.Q(('user__isnull', False), ('webhook__isnull', True)), _connector='OR'), name='delivery_one_receiver'),
        ),
        migrations.AddConstraint(
            model_name='delivery',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['waiting', 'sent', 'failed'])), name='delivery_state_known'),
        ),
        migrations.RunPython(keep_the_order, migrations.RunPython.noop),
        migrations.RunPython(watch, unwatch),
    ]
