"""The tables as they stood on 28 November 2026, in one step; an installation of before made them in several, and keeps
some indexes that this leaves out."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [('annotation', '0002_initial'), ('annotation', '0003_kind_settings'), ('annotation', '0004_drop_overlaps'), ('annotation', '0005_queue_policy'), ('annotation', '0006_task_categories'), ('annotation', '0007_limits'), ('annotation', '0008_task_languages'), ('annotation', '0009_pace_and_invitations'), ('annotation', '0010_comparisons'), ('annotation', '0011_corrections'), ('annotation', '0012_forms_and_feedback'), ('annotation', '0013_prompt_writing'), ('annotation', '0014_import_jobs')]

    initial = True

    dependencies = [
        ('annotation', '0001_first'),
        ('training', '0001_first'),
    ]

    operations = [
        migrations.AddField(
            model_name='response',
            name='model',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='responses', to='training.model'),
        ),
        migrations.AddField(
            model_name='response',
            name='run',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='responses', to='training.run'),
        ),
        migrations.AddConstraint(
            model_name='response',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('author__isnull', False), ('model__isnull', True), ('origin', 'human')), models.Q(('author__isnull', True), ('model__isnull', False), ('origin', 'model')), models.Q(('author__isnull', True), ('model__isnull', True), ('origin', 'imported')), _connector='OR'), name='response_has_one_author'),
        ),
        migrations.AddConstraint(
            model_name='response',
            constraint=models.UniqueConstraint(condition=models.Q(('run__isnull', False)), fields=('run', 'prompt', 'index'), name='response_sampled_once'),
        ),
        migrations.AddField(
            model_name='task',
            name='round',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='tasks', to='training.round'),
        ),
        migrations.AddField(
            model_name='task',
            name='responses',
            field=models.ManyToManyField(related_name='tasks', through='annotation.TaskResponse', to='annotation.response'),
        ),
    ]
