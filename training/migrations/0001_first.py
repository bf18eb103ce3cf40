"""The tables as they stood on 28 November 2026, in one step: what an installation of before has in several."""

import annotation.ids
import django.db.models.deletion
import django.utils.timezone
import time
from django.conf import settings
from django.db import migrations, models

from training import guard


def watch(apps, schema_editor):
    """The database's own watch over the lifecycle, from the table in `training.models.runs`."""
    guard.install(schema_editor.connection)


def unwatch(apps, schema_editor):
    guard.remove(schema_editor.connection)


class Migration(migrations.Migration):

    replaces = [('training', '0001_initial'), ('training', '0002_dpo_and_rloo'), ('training', '0003_jobs_leaks_and_erasure'), ('training', '0004_runs_control'), ('training', '0005_checkpoint_policy')]

    initial = True

    dependencies = [
        ('annotation', '0001_first'),
    ]

    operations = [
        migrations.CreateModel(
            name='Artifact',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sha256', models.CharField(help_text="Of the file, or of the folder's list of files (see training.files)", max_length=64)),
                ('kind', models.CharField(choices=[('snapshot', 'snapshot'), ('checkpoint', 'checkpoint'), ('model', 'model'), ('responses', 'responses'), ('report', 'report')], max_length=16)),
                ('size', models.PositiveBigIntegerField(help_text='Bytes')),
                ('storage_key', models.CharField(help_text='Path below the file store', max_length=255)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('kind', 'sha256'), name='artifact_once')],
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
                ('by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['node'],
                'constraints': [models.CheckConstraint(condition=models.Q(('how__in', ['finish', 'hand_back'])), name='drain_how_known')],
            },
        ),
        migrations.CreateModel(
            name='NoticeChoice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('ends', models.BooleanField(default=False)),
                ('needs_a_person', models.BooleanField(default=False)),
                ('only_mine', models.BooleanField(default=False)),
                ('user', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='notice_choice', to=settings.AUTH_USER_MODEL)),
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
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='webhooks', to='annotation.project')),
            ],
            options={
                'ordering': ['created_at', 'id'],
                'constraints': [models.UniqueConstraint(fields=('project', 'url'), name='webhook_once_a_project')],
            },
        ),
        migrations.CreateModel(
            name='Worker',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='Its node and its process number', max_length=120, unique=True)),
                ('node', models.CharField(help_text='Lasts over restarts, such as gpu@host', max_length=120)),
                ('host', models.CharField(max_length=120)),
                ('queues', models.CharField(help_text='What it listens on, separated by commas', max_length=200)),
                ('slots', models.PositiveSmallIntegerField(default=1, help_text='Runs at a time')),
                ('device', models.CharField(blank=True, default='', max_length=120)),
                ('threads', models.PositiveIntegerField(default=0)),
                ('memory_bytes', models.PositiveBigIntegerField(default=0)),
                ('memory_used_bytes', models.PositiveBigIntegerField(default=0)),
                ('gpu_memory_bytes', models.PositiveBigIntegerField(default=0)),
                ('gpu_memory_used_bytes', models.PositiveBigIntegerField(default=0)),
                ('version', models.CharField(blank=True, default='', max_length=40)),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('seen_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'ordering': ['name'],
                'indexes': [models.Index(fields=['node'], name='worker_node')],
            },
        ),
        migrations.CreateModel(
            name='Run',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('stage', models.CharField(choices=[('pretrain', 'Pretrain'), ('sft', 'SFT'), ('reward', 'Reward model'), ('ppo', 'PPO'), ('dpo', 'DPO'), ('rloo', 'RLOO'), ('sample', 'Sample answers'), ('evaluate', 'Evaluate')], max_length=16)),
                ('name', models.CharField(max_length=120)),
                ('state', models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('cancelling', 'Cancelling'), ('pausing', 'Pausing'), ('paused', 'Paused'), ('succeeded', 'Succeeded'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='queued', max_length=16)),
                ('config', models.JSONField(default=dict, help_text='What was asked for; the core fills in its defaults')),
                ('config_hash', models.CharField(help_text="Of stage, config, seed and the inputs' hashes; no paths", max_length=64)),
                ('seed', models.PositiveBigIntegerField(default=0)),
                ('numerics', models.JSONField(default=dict)),
                ('queue', models.CharField(default='gpu', max_length=16)),
                ('priority', models.IntegerField(default=0, help_text='Higher comes first')),
                ('place', models.FloatField(default=time.time, help_text='Order within a priority: the moment it was asked for, until someone moves it')),
                ('queued_at', models.DateTimeField(default=django.utils.timezone.now, help_text='Since when it waits, or waited last')),
                ('then', models.JSONField(blank=True, default=dict, help_text='What to do with the result: {"rank": {"k": 4, "purpose": "train"}}')),
                ('attempt', models.PositiveIntegerField(default=0, help_text='The fencing token; only a claim increments it')),
                ('worker', models.CharField(blank=True, default='', max_length=120)),
                ('lease_until', models.DateTimeField(blank=True, help_text="By the database's clock", null=True)),
                ('lost_count', models.PositiveIntegerField(default=0, help_text='Leases lost: crashes of worker or machine')),
                ('step', models.PositiveIntegerField(default=0)),
                ('total_steps', models.PositiveIntegerField(default=0)),
                ('phase', models.CharField(blank=True, default='', max_length=40)),
                ('latest_metrics', models.JSONField(default=dict)),
                ('data_report', models.JSONField(default=list, help_text='What was kept and filtered, with reasons')),
                ('result', models.JSONField(default=dict)),
                ('reason', models.CharField(blank=True, default='', help_text='Why it failed: data, config, numerics, memory, disk, crash, lost', max_length=24)),
                ('message', models.TextField(blank=True, default='', help_text='The same in words for the person who reads the page')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('started_at', models.DateTimeField(blank=True, help_text='Of the first attempt', null=True)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('cloned_from', models.ForeignKey(blank=True, help_text='Copied from it', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='clones', to='training.run')),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('output', models.ForeignKey(blank=True, help_text="What it published: a model's folder, answers, a report", null=True, on_delete=django.db.models.deletion.PROTECT, related_name='runs', to='training.artifact')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='runs', to='annotation.project')),
            ],
            options={
                'ordering': ['-created_at', '-id'],
                'constraints': [models.CheckConstraint(condition=models.Q(('state__in', ['queued', 'running', 'cancelling', 'pausing', 'paused', 'succeeded', 'failed', 'cancelled'])), name='run_state_known'), models.CheckConstraint(condition=models.Q(('stage__in', ['pretrain', 'sft', 'reward', 'ppo', 'dpo', 'rloo', 'sample', 'evaluate'])), name='run_stage_known'), models.CheckConstraint(condition=models.Q(models.Q(('lease_until__isnull', False), ('state__in', ['running', 'cancelling', 'pausing'])), models.Q(models.Q(('state__in', ['running', 'cancelling', 'pausing']), _negated=True), ('lease_until__isnull', True)), _connector='OR'), name='run_lease_iff_held'), models.CheckConstraint(condition=models.Q(models.Q(('ended_at__isnull', False), ('state__in', ['succeeded', 'failed', 'cancelled'])), models.Q(models.Q(('state__in', ['succeeded', 'failed', 'cancelled']), _negated=True), ('ended_at__isnull', True)), _connector='OR'), name='run_ended_iff_over'), models.CheckConstraint(condition=models.Q(models.Q(('state', 'running'), _negated=True), ('attempt__gte', 1), _connector='OR'), name='run_attempted_if_held')],
                'indexes': [models.Index(condition=models.Q(('state', 'queued')), fields=['queue', '-priority', 'place'], name='run_queue'), models.Index(condition=models.Q(('state__in', ['running', 'cancelling', 'pausing'])), fields=['lease_until'], name='run_leases'), models.Index(fields=['project', 'stage', '-created_at'], name='run_project_stage')],
            },
        ),
        migrations.CreateModel(
            name='Snapshot',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('corpus', 'Corpus (text)'), ('demonstrations', 'Demonstrations'), ('rankings', 'Rankings'), ('prompts', 'Prompts')], max_length=16)),
                ('name', models.CharField(max_length=120)),
                ('query', models.JSONField(default=dict)),
                ('manifest', models.JSONField(help_text="Query, counts, schema version, tie policy, each file's sha256; no time, no name")),
                ('sha256', models.CharField(max_length=64)),
                ('counts', models.JSONField(default=dict, help_text='{split: rows, ...}')),
                ('facts', models.JSONField(blank=True, default=dict, help_text='Mix, shares and biases, counted once from its files')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('erased_at', models.DateTimeField(blank=True, help_text='Its files were destroyed; the manifest stays', null=True)),
                ('erased_why', models.TextField(blank=True, default='')),
                ('artifact', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='snapshots', to='training.artifact')),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='snapshots', to='annotation.project')),
            ],
            options={
                'ordering': ['-created_at', '-id'],
                'constraints': [models.UniqueConstraint(fields=('project', 'sha256'), name='snapshot_once'), models.CheckConstraint(condition=models.Q(('erased_at__isnull', True), models.Q(('erased_why', ''), _negated=True), _connector='OR'), name='snapshot_erased_with_reason')],
            },
        ),
        migrations.CreateModel(
            name='Attempt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField()),
                ('worker', models.CharField(max_length=120)),
                ('resumed_from', models.PositiveIntegerField(default=0, help_text='Step of the checkpoint that it started from')),
                ('outcome', models.CharField(blank=True, default='', help_text='finished, stopped, failed, lost, cancelled', max_length=24)),
                ('message', models.TextField(blank=True, default='')),
                ('versions', models.JSONField(default=dict)),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='attempts', to='training.run')),
            ],
            options={
                'ordering': ['run', 'number'],
                'constraints': [models.UniqueConstraint(fields=('run', 'number'), name='attempt_number_once')],
            },
        ),
        migrations.CreateModel(
            name='Checkpoint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('attempt', models.PositiveIntegerField()),
                ('step', models.PositiveIntegerField()),
                ('set_aside', models.BooleanField(default=False, help_text='Someone went back to an earlier one, so no attempt goes on from here by itself')),
                ('metric', models.CharField(blank=True, default='', help_text='By which the best one is chosen', max_length=120)),
                ('value', models.FloatField(blank=True, help_text='Of that metric at this step', null=True)),
                ('problem', models.CharField(blank=True, default='', help_text='Why it was passed over when it was to be resumed from', max_length=200)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('artifact', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='checkpoints', to='training.artifact')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='checkpoints', to='training.run')),
            ],
            options={
                'ordering': ['run', '-step', '-attempt'],
                'constraints': [models.UniqueConstraint(fields=('run', 'attempt', 'step'), name='checkpoint_once')],
            },
        ),
        migrations.CreateModel(
            name='Job',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('export', 'Export'), ('leaks', 'Leak check'), ('difference', 'Comparison')], max_length=16)),
                ('asked', models.JSONField(default=dict, help_text='What was asked for; the same twice is one job')),
                ('state', models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('succeeded', 'Finished'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='queued', max_length=16)),
                ('attempt', models.PositiveIntegerField(default=0, help_text='The fencing token; only a claim increments it')),
                ('lease_until', models.DateTimeField(blank=True, help_text="By the database's clock", null=True)),
                ('done', models.PositiveBigIntegerField(default=0, help_text='Rows so far')),
                ('total', models.PositiveBigIntegerField(default=0, help_text='Rows in all')),
                ('result', models.JSONField(default=dict)),
                ('message', models.TextField(blank=True, default='', help_text='Why it failed, in words')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('expires_at', models.DateTimeField(blank=True, help_text='When its file is removed', null=True)),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='jobs', to='annotation.project')),
                ('snapshot', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='jobs', to='training.snapshot')),
            ],
            options={
                'ordering': ['-created_at', '-id'],
                'constraints': [models.CheckConstraint(condition=models.Q(('state__in', ['queued', 'running', 'succeeded', 'failed', 'cancelled'])), name='job_state_known'), models.CheckConstraint(condition=models.Q(('kind__in', ['export', 'leaks', 'difference'])), name='job_kind_known'), models.CheckConstraint(condition=models.Q(models.Q(('lease_until__isnull', False), ('state', 'running')), models.Q(models.Q(('state', 'running'), _negated=True), ('lease_until__isnull', True)), _connector='OR'), name='job_lease_iff_running'), models.CheckConstraint(condition=models.Q(models.Q(('ended_at__isnull', True), ('state__in', ['queued', 'running'])), models.Q(models.Q(('state__in', ['queued', 'running']), _negated=True), ('ended_at__isnull', False)), _connector='OR'), name='job_ended_iff_over')],
                'indexes': [models.Index(condition=models.Q(('state__in', ['queued', 'running'])), fields=['created_at'], name='job_open')],
            },
        ),
        migrations.CreateModel(
            name='LeakCheck',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('waiting', 'Not checked yet'), ('clean', 'No leak found'), ('found', 'To be decided'), ('accepted', 'Accepted'), ('left_out', 'Replaced by a snapshot without them')], default='waiting', max_length=16)),
                ('exact', models.PositiveIntegerField(default=0, help_text='Prompts in train that are held out word for word')),
                ('near', models.PositiveIntegerField(default=0, help_text='Prompts in train that are nearly held out')),
                ('checked_at', models.DateTimeField(blank=True, null=True)),
                ('reason', models.TextField(blank=True, default='', help_text='Why they were accepted')),
                ('decided_at', models.DateTimeField(blank=True, null=True)),
                ('decided_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('replaced_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='training.snapshot')),
                ('snapshot', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='leak_check', to='training.snapshot')),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('state__in', ['waiting', 'clean', 'found', 'accepted', 'left_out'])), name='leak_state_known'), models.CheckConstraint(condition=models.Q(models.Q(('state', 'accepted'), _negated=True), models.Q(('reason', ''), _negated=True), _connector='OR'), name='leak_accepted_with_reason')],
            },
        ),
        migrations.CreateModel(
            name='MetricChunk',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('attempt', models.PositiveIntegerField()),
                ('first_step', models.PositiveIntegerField()),
                ('last_step', models.PositiveIntegerField()),
                ('level', models.PositiveSmallIntegerField(default=0, help_text='0 = every step; n = every 8^n-th')),
                ('columns', models.JSONField(help_text='{"step": [..], "loss/train": [.., null, ..]}')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='metric_chunks', to='training.run')),
            ],
            options={
                'ordering': ['run', 'level', 'attempt', 'first_step'],
                'constraints': [models.UniqueConstraint(fields=('run', 'attempt', 'level', 'first_step'), name='metric_chunk_once')],
            },
        ),
        migrations.CreateModel(
            name='Model',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('policy', 'Policy'), ('reward_model', 'Reward model')], max_length=16)),
                ('name', models.CharField(max_length=120)),
                ('source', models.CharField(blank=True, default='', help_text='Hub name with commit, or folder name', max_length=255)),
                ('card', models.JSONField(default=dict, help_text='plackett.json: stage, config, metrics, hashes of tokenizer and template')),
                ('parameters', models.PositiveBigIntegerField(blank=True, null=True)),
                ('context_length', models.PositiveIntegerField(blank=True, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('artifact', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='models', to='training.artifact')),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='models', to='annotation.project')),
                ('run', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='model', to='training.run')),
            ],
            options={
                'ordering': ['-created_at', '-id'],
                'constraints': [models.UniqueConstraint(fields=('project', 'name'), name='model_name_once'), models.CheckConstraint(condition=models.Q(('run__isnull', False), models.Q(('source', ''), _negated=True), _connector='OR'), name='model_from_run_or_source')],
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
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='notices', to='annotation.project')),
                ('run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='notices', to='training.run')),
            ],
            options={
                'ordering': ['-created_at', '-id'],
                'constraints': [models.CheckConstraint(condition=models.Q(('kind__in', ['succeeded', 'failed', 'cancelled', 'paused', 'stuck', 'webhook_disabled', 'test'])), name='notice_kind_known')],
                'indexes': [models.Index(fields=['project', '-created_at'], name='notice_project')],
            },
        ),
        migrations.CreateModel(
            name='RunLine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('attempt', models.PositiveIntegerField()),
                ('level', models.CharField(default='info', max_length=8)),
                ('text', models.TextField()),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='lines', to='training.run')),
            ],
            options={
                'ordering': ['run', 'id'],
            },
        ),
        migrations.CreateModel(
            name='RunSample',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('attempt', models.PositiveIntegerField()),
                ('step', models.PositiveIntegerField()),
                ('index', models.PositiveIntegerField(help_text='Order within the step')),
                ('prompt', models.JSONField()),
                ('response', models.TextField(blank=True)),
                ('score', models.FloatField(blank=True, null=True)),
                ('tokens', models.PositiveIntegerField(blank=True, null=True)),
                ('ended', models.BooleanField(null=True)),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='samples', to='training.run')),
            ],
            options={
                'ordering': ['run', 'step', 'index'],
                'constraints': [models.UniqueConstraint(fields=('run', 'attempt', 'step', 'index'), name='run_sample_once')],
            },
        ),
        migrations.CreateModel(
            name='SnapshotLabel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('label_id', models.UUIDField(help_text="Of a Demonstration or a Ranking, by the snapshot's kind")),
                ('snapshot', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='labels', to='training.snapshot')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('snapshot', 'label_id'), name='snapshot_label_once')],
                'indexes': [models.Index(fields=['label_id'], name='snapshot_label')],
            },
        ),
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
                ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('notice', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='training.notice')),
                ('webhook', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='training.webhook')),
            ],
            options={
                'ordering': ['-created_at', '-id'],
                'constraints': [models.UniqueConstraint(fields=('notice', 'webhook'), name='delivery_once_a_webhook'), models.UniqueConstraint(fields=('notice', 'user'), name='delivery_once_a_person'), models.CheckConstraint(condition=models.Q(models.Q(('user__isnull', True), ('webhook__isnull', False)), models.Q(('user__isnull', False), ('webhook__isnull', True)), _connector='OR'), name='delivery_one_receiver'), models.CheckConstraint(condition=models.Q(('state__in', ['waiting', 'sent', 'failed'])), name='delivery_state_known')],
                'indexes': [models.Index(condition=models.Q(('state', 'waiting')), fields=['next_at'], name='delivery_due')],
            },
        ),
        migrations.CreateModel(
            name='LeakPair',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('similarity', models.FloatField(help_text='Jaccard of the shingles; 1 is the same but for case and spacing')),
                ('train_row', models.CharField(max_length=64)),
                ('train_prompt', models.TextField()),
                ('held_out_row', models.CharField(max_length=64)),
                ('held_out_prompt', models.TextField()),
                ('held_out_split', models.CharField(max_length=24)),
                ('leak_check', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='pairs', to='training.leakcheck')),
            ],
            options={
                'ordering': ['leak_check', '-similarity', 'id'],
            },
        ),
        migrations.CreateModel(
            name='NoticeRead',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('notice', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='reads', to='training.notice')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('notice', 'user'), name='notice_read_once')],
            },
        ),
        migrations.CreateModel(
            name='Round',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('number', models.PositiveIntegerField()),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('policy', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='training.model')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rounds', to='annotation.project')),
                ('reward_model', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='training.model')),
                ('sampling_run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='training.run')),
            ],
            options={
                'ordering': ['-number'],
                'constraints': [models.UniqueConstraint(fields=('project', 'number'), name='round_number_once')],
            },
        ),
        migrations.CreateModel(
            name='RunInput',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=24)),
                ('model', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='run_inputs', to='training.model')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='inputs', to='training.run')),
                ('snapshot', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='run_inputs', to='training.snapshot')),
            ],
            options={
                'ordering': ['id'],
                'constraints': [models.UniqueConstraint(fields=('run', 'name'), name='run_input_once'), models.CheckConstraint(condition=models.Q(models.Q(('model__isnull', True), ('snapshot__isnull', False)), models.Q(('model__isnull', False), ('snapshot__isnull', True)), _connector='OR'), name='run_input_one_of_two')],
            },
        ),
        migrations.AddField(
            model_name='run',
            name='round',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='runs', to='training.round'),
        ),
        migrations.RunPython(watch, unwatch),
    ]
