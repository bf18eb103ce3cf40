import django.db.models.deletion
from django.db import migrations, models


def rejected_to_rows(apps, schema_editor):
    """The bad lines that imports so far kept in their own row."""
    batches, rejections = apps.get_model("annotation", "ImportBatch"), apps.get_model("annotation", "ImportRejection")
    for batch in batches.objects.exclude(rejected=[]).only("rejected").iterator():
        rejections.objects.bulk_create(
            [rejections(batch_id=batch.pk, line=bad["line"], problem=bad["problem"]) for bad in batch.rejected]
        )
    # PostgreSQL alters no table whose new rows it has yet to check.
    schema_editor.connection.check_constraints()


class Migration(migrations.Migration):

    dependencies = [
        ('annotation', '0013_prompt_writing'),
    ]

    operations = [
        migrations.CreateModel(
            name='ImportRejection',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('line', models.PositiveBigIntegerField()),
                ('problem', models.TextField()),
                ('batch', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rejections', to='annotation.importbatch')),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.RunPython(rejected_to_rows, migrations.RunPython.noop),
        migrations.RemoveField(
            model_name='importbatch',
            name='rejected',
        ),
        migrations.AddField(
            model_name='demonstration',
            name='imported_guideline',
            field=models.CharField(blank=True, default='', help_text="An imported label's own guideline, by name or version", max_length=120),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='accept_bad_lines',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='attempt',
            field=models.PositiveIntegerField(default=0, help_text='The fencing token: only a claim adds to it'),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='cancel_asked',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='cleared_at',
            field=models.DateTimeField(blank=True, help_text='What it wrote before it ended unseen is removed', null=True),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='ended_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='format',
            field=models.CharField(blank=True, default='', help_text='Empty: as the first row looks', max_length=32),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='lease_until',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='lost_count',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='mapping',
            field=models.JSONField(blank=True, default=dict, help_text="Our fields to the file's columns, where chosen"),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='message',
            field=models.TextField(blank=True, default='', help_text='Why it failed'),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='phase',
            field=models.CharField(blank=True, choices=[('check', 'Checking'), ('write', 'Writing')], default='', max_length=8),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='phase_at',
            field=models.DateTimeField(blank=True, help_text='When this phase began, for the time left', null=True),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='phase_from',
            field=models.PositiveBigIntegerField(default=0, help_text='The position at which this attempt took it up'),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='pool',
            field=models.CharField(blank=True, default='', help_text='For rows that name none', max_length=8),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='position',
            field=models.PositiveBigIntegerField(default=0, help_text='Rows read in this phase'),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='position_bytes',
            field=models.PositiveBigIntegerField(default=0, help_text='Bytes of the file read in this phase'),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='queued_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='rows',
            field=models.PositiveBigIntegerField(default=0, help_text='Rows of the file, known after the check'),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='size',
            field=models.PositiveBigIntegerField(default=0, help_text='Bytes of the file as it was sent'),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='state',
            field=models.CharField(choices=[('staged', 'Not started'), ('queued', 'Waiting'), ('running', 'Running'), ('succeeded', 'Done'), ('refused', 'Refused'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='succeeded', max_length=16),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='worker',
            field=models.CharField(blank=True, default='', max_length=120),
        ),
        migrations.AddField(
            model_name='ranking',
            name='imported_guideline',
            field=models.CharField(blank=True, default='', help_text="An imported label's own guideline, by name or version", max_length=120),
        ),
        migrations.AddField(
            model_name='writtenprompt',
            name='imported_guideline',
            field=models.CharField(blank=True, default='', help_text="An imported label's own guideline, by name or version", max_length=120),
        ),
        migrations.AddField(
            model_name='task',
            name='batch',
            field=models.ForeignKey(blank=True, help_text='The import that brought it', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='tasks', to='annotation.importbatch'),
        ),
        migrations.AlterField(
            model_name='importbatch',
            name='kind',
            field=models.CharField(help_text='prompts, demonstrations, rankings or answers', max_length=24),
        ),
        migrations.AlterField(
            model_name='importbatch',
            name='sha256',
            field=models.CharField(help_text='Of the file, which lies staged under this name', max_length=64),
        ),
        migrations.AlterField(
            model_name='importbatch',
            name='undone_at',
            field=models.DateTimeField(blank=True, help_text='Its rows are hidden: undone, or it ended while writing', null=True),
        ),
        migrations.AddIndex(
            model_name='importbatch',
            index=models.Index(condition=models.Q(('state__in', ['queued', 'running'])), fields=['queued_at', 'id'], name='import_waiting'),
        ),
        migrations.AddConstraint(
            model_name='importbatch',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'running')), fields=('project',), name='import_one_running_a_project'),
        ),
        migrations.AddConstraint(
            model_name='importbatch',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['staged', 'queued', 'running', 'succeeded', 'refused', 'failed', 'cancelled'])), name='import_state_known'),
        ),
        migrations.AddConstraint(
            model_name='importbatch',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state', 'running'), _negated=True), ('lease_until__isnull', False), _connector='OR'), name='import_running_is_leased'),
        ),
        migrations.AddIndex(
            model_name='importrejection',
            index=models.Index(fields=['batch', 'id'], name='import_rejection_batch'),
        ),
    ]
