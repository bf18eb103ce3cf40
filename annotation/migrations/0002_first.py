"""The tables as they stood on 28 November 2026, in one step; an installation of before made them in several, and keeps
some indexes that this leaves out."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [
        ('annotation', '0002_initial'),
        ('annotation', '0003_kind_settings'),
        ('annotation', '0004_drop_overlaps'),
        ('annotation', '0005_queue_policy'),
        ('annotation', '0006_task_categories'),
        ('annotation', '0007_limits'),
        ('annotation', '0008_task_languages'),
        ('annotation', '0009_pace_and_invitations'),
        ('annotation', '0010_comparisons'),
        ('annotation', '0011_corrections'),
        ('annotation', '0012_forms_and_feedback'),
        ('annotation', '0013_prompt_writing'),
        ('annotation', '0014_import_jobs'),
    ]

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
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='responses', to='annotation.project'),
        ),
        migrations.AddField(
            model_name='response',
            name='prompt',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='responses', to='annotation.prompt'),
        ),
        migrations.AddField(
            model_name='response',
            name='run',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='responses', to='training.run'),
        ),
        migrations.AddField(
            model_name='rankedresponse',
            name='response',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='ranked_responses', to='annotation.response'),
        ),
        migrations.AddField(
            model_name='demonstration',
            name='corrects',
            field=models.ForeignKey(blank=True, help_text='The answer that it was made from', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='corrections', to='annotation.response'),
        ),
        migrations.AddField(
            model_name='demonstration',
            name='response',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='demonstrations', to='annotation.response'),
        ),
        migrations.AddField(
            model_name='signinlink',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='sign_in_links', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='task',
            name='batch',
            field=models.ForeignKey(blank=True, help_text='The import that brought it', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='tasks', to='annotation.importbatch'),
        ),
        migrations.AddField(
            model_name='task',
            name='brief',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='tasks', to='annotation.promptbrief'),
        ),
        migrations.AddField(
            model_name='task',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tasks', to='annotation.project'),
        ),
        migrations.AddField(
            model_name='task',
            name='prompt',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='tasks', to='annotation.prompt'),
        ),
        migrations.AddField(
            model_name='task',
            name='round',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='tasks', to='training.round'),
        ),
        migrations.AddField(
            model_name='ranking',
            name='task',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.task'),
        ),
        migrations.AddField(
            model_name='demonstration',
            name='task',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.task'),
        ),
        migrations.AddField(
            model_name='assignment',
            name='task',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='assignments', to='annotation.task'),
        ),
        migrations.AddField(
            model_name='taskresponse',
            name='response',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='task_responses', to='annotation.response'),
        ),
        migrations.AddField(
            model_name='taskresponse',
            name='task',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='task_responses', to='annotation.task'),
        ),
        migrations.AddField(
            model_name='task',
            name='responses',
            field=models.ManyToManyField(related_name='tasks', through='annotation.TaskResponse', to='annotation.response'),
        ),
        migrations.AddField(
            model_name='writtenprompt',
            name='assignment',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.assignment'),
        ),
        migrations.AddField(
            model_name='writtenprompt',
            name='batch',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.importbatch'),
        ),
        migrations.AddField(
            model_name='writtenprompt',
            name='form',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotation.formversion'),
        ),
        migrations.AddField(
            model_name='writtenprompt',
            name='guideline',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotation.guideline'),
        ),
        migrations.AddField(
            model_name='writtenprompt',
            name='labeler',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.membership'),
        ),
        migrations.AddField(
            model_name='writtenprompt',
            name='project',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='%(class)ss', to='annotation.project'),
        ),
        migrations.AddField(
            model_name='writtenprompt',
            name='prompt',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.prompt'),
        ),
        migrations.AddField(
            model_name='writtenprompt',
            name='task',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.task'),
        ),
        migrations.AddIndex(
            model_name='importrejection',
            index=models.Index(fields=['batch', 'id'], name='import_rejection_batch'),
        ),
        migrations.AddConstraint(
            model_name='guidelineacknowledgement',
            constraint=models.UniqueConstraint(fields=('membership', 'guideline'), name='guideline_acknowledged_once'),
        ),
        migrations.AddConstraint(
            model_name='project',
            constraint=models.CheckConstraint(condition=models.Q(('responses_per_prompt__range', (2, 16))), name='project_k_in_range'),
        ),
        migrations.AddConstraint(
            model_name='project',
            constraint=models.CheckConstraint(condition=models.Q(('validation_percent__range', (0, 45)), ('test_percent__range', (0, 45))), name='project_split_leaves_training'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.UniqueConstraint(fields=('project', 'user'), name='membership_once_a_project'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.UniqueConstraint(fields=('project', 'pseudonym'), name='membership_pseudonym_unique'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.UniqueConstraint(condition=models.Q(('imported_name', ''), _negated=True), fields=('project', 'imported_name'), name='membership_imported_once'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('user__isnull', False), ('imported_name', '')), models.Q(('user__isnull', True), models.Q(('imported_name', ''), _negated=True)), _connector='OR'), name='membership_user_or_imported'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.CheckConstraint(condition=models.Q(('role__in', ['labeler', 'reviewer', 'admin', 'researcher'])), name='membership_role_known'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.CheckConstraint(condition=models.Q(('removed_at__isnull', True), ('is_active', False), _connector='OR'), name='membership_removed_is_inactive'),
        ),
        migrations.AddIndex(
            model_name='labelcomment',
            index=models.Index(condition=models.Q(('seen_at__isnull', True)), fields=['assignment'], name='comment_news'),
        ),
        migrations.AddIndex(
            model_name='labelcomment',
            index=models.Index(condition=models.Q(('closed_at__isnull', True), ('returns', True)), fields=['project', 'id'], name='comment_returned'),
        ),
        migrations.AddConstraint(
            model_name='labelcomment',
            constraint=models.UniqueConstraint(condition=models.Q(('closed_at__isnull', True), ('returns', True)), fields=('assignment',), name='label_returned_once'),
        ),
        migrations.AddConstraint(
            model_name='labelcomment',
            constraint=models.CheckConstraint(condition=models.Q(('closed_at__isnull', True), ('returns', True), _connector='OR'), name='label_comment_closed_returned'),
        ),
        migrations.AddConstraint(
            model_name='kindsettings',
            constraint=models.UniqueConstraint(fields=('project', 'kind'), name='kind_settings_once'),
        ),
        migrations.AddConstraint(
            model_name='kindsettings',
            constraint=models.CheckConstraint(condition=models.Q(('overlap__range', (1, 100)), ('sampled_overlap__range', (1, 100))), name='kind_settings_overlap_in_range'),
        ),
        migrations.AddConstraint(
            model_name='kindsettings',
            constraint=models.CheckConstraint(condition=models.Q(('sampled_percent__range', (0, 100))), name='kind_settings_percent'),
        ),
        migrations.AddConstraint(
            model_name='invitation',
            constraint=models.CheckConstraint(condition=models.Q(('uses__lte', models.F('max_uses'))), name='invitation_not_overused'),
        ),
        migrations.AddConstraint(
            model_name='invitation',
            constraint=models.CheckConstraint(condition=models.Q(('role__in', ['labeler', 'reviewer', 'admin', 'researcher']), models.Q(('role', 'admin'), _negated=True)), name='invitation_role_invited'),
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
        migrations.AddConstraint(
            model_name='guideline',
            constraint=models.UniqueConstraint(fields=('project', 'version'), name='guideline_version_once'),
        ),
        migrations.AddConstraint(
            model_name='formversion',
            constraint=models.UniqueConstraint(fields=('project', 'kind', 'version'), name='form_version_once'),
        ),
        migrations.AddIndex(
            model_name='auditevent',
            index=models.Index(fields=['project', '-created_at'], name='audit_project'),
        ),
        migrations.AddIndex(
            model_name='auditevent',
            index=models.Index(fields=['target_type', 'target_id'], name='audit_target'),
        ),
        migrations.AddIndex(
            model_name='prompt',
            index=models.Index(fields=['project', 'pool', 'split', 'id'], name='prompt_pool_split'),
        ),
        migrations.AddConstraint(
            model_name='prompt',
            constraint=models.UniqueConstraint(fields=('project', 'content_hash'), name='prompt_text_once'),
        ),
        migrations.AddConstraint(
            model_name='prompt',
            constraint=models.UniqueConstraint(condition=models.Q(('source_id', ''), _negated=True), fields=('project', 'source_name', 'source_id'), name='prompt_source_once'),
        ),
        migrations.AddConstraint(
            model_name='prompt',
            constraint=models.CheckConstraint(condition=models.Q(('split__in', ['train', 'validation', 'test'])), name='prompt_split_known'),
        ),
        migrations.AddConstraint(
            model_name='prompt',
            constraint=models.CheckConstraint(condition=models.Q(('pool__in', ['sft', 'rm', 'ppo', 'eval'])), name='prompt_pool_known'),
        ),
        migrations.AddConstraint(
            model_name='promptbrief',
            constraint=models.CheckConstraint(condition=models.Q(('style__in', ['plain', 'few_shot', 'user_based'])), name='brief_style_known'),
        ),
        migrations.AddConstraint(
            model_name='promptbrief',
            constraint=models.CheckConstraint(condition=models.Q(('pool__in', ['sft', 'rm', 'ppo', 'eval'])), name='brief_pool_known'),
        ),
        migrations.AddConstraint(
            model_name='promptbrief',
            constraint=models.CheckConstraint(condition=models.Q(('follow_up__in', ['', 'demonstration'])), name='brief_follow_up_known'),
        ),
        migrations.AddConstraint(
            model_name='promptbrief',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('style', 'user_based'), models.Q(('use_case', ''), _negated=True)), models.Q(models.Q(('style', 'user_based'), _negated=True), ('use_case', '')), _connector='OR'), name='brief_use_case_where_wanted'),
        ),
        migrations.AddConstraint(
            model_name='prompttopic',
            constraint=models.UniqueConstraint(fields=('prompt', 'topic'), name='prompt_topic_once'),
        ),
        migrations.AddConstraint(
            model_name='prompttopic',
            constraint=models.CheckConstraint(condition=models.Q(('topic__in', ['sexual', 'violence', 'self_harm', 'abuse', 'hate', 'drugs', 'politics', 'religion', 'health'])), name='prompt_topic_known'),
        ),
        migrations.AddIndex(
            model_name='question',
            index=models.Index(condition=models.Q(('state', 'open')), fields=['project', 'id'], name='question_open'),
        ),
        migrations.AddIndex(
            model_name='question',
            index=models.Index(condition=models.Q(('news', True)), fields=['assignment'], name='question_news'),
        ),
        migrations.AddConstraint(
            model_name='question',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['open', 'answered', 'resolved'])), name='question_state_known'),
        ),
        migrations.AddIndex(
            model_name='response',
            index=models.Index(fields=['prompt', 'origin'], name='response_prompt_origin'),
        ),
        migrations.AddConstraint(
            model_name='response',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('author__isnull', False), ('model__isnull', True), ('origin', 'human')), models.Q(('author__isnull', True), ('model__isnull', False), ('origin', 'model')), models.Q(('author__isnull', True), ('model__isnull', True), ('origin', 'imported')), _connector='OR'), name='response_has_one_author'),
        ),
        migrations.AddConstraint(
            model_name='response',
            constraint=models.UniqueConstraint(condition=models.Q(('run__isnull', False)), fields=('run', 'prompt', 'index'), name='response_sampled_once'),
        ),
        migrations.AddConstraint(
            model_name='rankedresponse',
            constraint=models.UniqueConstraint(fields=('ranking', 'response'), name='ranked_response_once'),
        ),
        migrations.AddConstraint(
            model_name='rankedresponse',
            constraint=models.UniqueConstraint(fields=('ranking', 'position'), name='ranked_position_once'),
        ),
        migrations.AddConstraint(
            model_name='rankedresponse',
            constraint=models.CheckConstraint(condition=models.Q(('rank__isnull', True), ('rank__gte', 1), _connector='OR'), name='ranked_rank_positive'),
        ),
        migrations.AddConstraint(
            model_name='rankedresponse',
            constraint=models.CheckConstraint(condition=models.Q(('rating__isnull', True), ('rating__range', (0, 10)), _connector='OR'), name='ranked_rating_in_range'),
        ),
        migrations.AddIndex(
            model_name='ranking',
            index=models.Index(fields=['project', 'is_current', 'id'], name='ranking_current'),
        ),
        migrations.AddIndex(
            model_name='ranking',
            index=models.Index(fields=['project', '-submitted_at'], name='ranking_latest'),
        ),
        migrations.AddConstraint(
            model_name='ranking',
            constraint=models.UniqueConstraint(fields=('assignment', 'revision'), name='ranking_revision_once'),
        ),
        migrations.AddConstraint(
            model_name='ranking',
            constraint=models.UniqueConstraint(condition=models.Q(('is_current', True)), fields=('assignment',), name='ranking_one_current'),
        ),
        migrations.AddConstraint(
            model_name='ranking',
            constraint=models.CheckConstraint(condition=models.Q(('revision__gte', 1)), name='ranking_revision_positive'),
        ),
        migrations.AddConstraint(
            model_name='ranking',
            constraint=models.CheckConstraint(condition=models.Q(('origin__in', ['human', 'simulated', 'imported'])), name='ranking_origin_known'),
        ),
        migrations.AddConstraint(
            model_name='ranking',
            constraint=models.CheckConstraint(condition=models.Q(('purpose__in', ['train', 'eval'])), name='ranking_purpose_known'),
        ),
        migrations.AddConstraint(
            model_name='ranking',
            constraint=models.CheckConstraint(condition=models.Q(('active_seconds__gte', 0)), name='ranking_seconds_not_negative'),
        ),
        migrations.AddIndex(
            model_name='demonstration',
            index=models.Index(fields=['project', 'is_current', 'id'], name='demonstration_current'),
        ),
        migrations.AddIndex(
            model_name='demonstration',
            index=models.Index(fields=['project', '-submitted_at'], name='demonstration_latest'),
        ),
        migrations.AddConstraint(
            model_name='demonstration',
            constraint=models.UniqueConstraint(fields=('assignment', 'revision'), name='demonstration_revision_once'),
        ),
        migrations.AddConstraint(
            model_name='demonstration',
            constraint=models.UniqueConstraint(condition=models.Q(('is_current', True)), fields=('assignment',), name='demonstration_one_current'),
        ),
        migrations.AddConstraint(
            model_name='demonstration',
            constraint=models.CheckConstraint(condition=models.Q(('revision__gte', 1)), name='demonstration_revision_positive'),
        ),
        migrations.AddConstraint(
            model_name='demonstration',
            constraint=models.CheckConstraint(condition=models.Q(('origin__in', ['human', 'simulated', 'imported'])), name='demonstration_origin_known'),
        ),
        migrations.AddConstraint(
            model_name='demonstration',
            constraint=models.CheckConstraint(condition=models.Q(('purpose__in', ['train', 'eval'])), name='demonstration_purpose_known'),
        ),
        migrations.AddConstraint(
            model_name='demonstration',
            constraint=models.CheckConstraint(condition=models.Q(('active_seconds__gte', 0)), name='demonstration_seconds_not_negative'),
        ),
        migrations.AddIndex(
            model_name='assignment',
            index=models.Index(fields=['labeler', 'status'], name='assignment_labeler_status'),
        ),
        migrations.AddIndex(
            model_name='assignment',
            index=models.Index(condition=models.Q(('status', 'leased')), fields=['lease_until'], name='assignment_leases'),
        ),
        migrations.AddConstraint(
            model_name='assignment',
            constraint=models.UniqueConstraint(fields=('task', 'labeler'), name='assignment_once_a_labeler'),
        ),
        migrations.AddConstraint(
            model_name='assignment',
            constraint=models.UniqueConstraint(fields=('task', 'slot'), name='assignment_slot_once'),
        ),
        migrations.AddConstraint(
            model_name='assignment',
            constraint=models.CheckConstraint(condition=models.Q(('status', 'submitted'), models.Q(('slot__isnull', False), ('status', 'leased')), models.Q(('slot__isnull', True), ('status__in', ['skipped', 'expired'])), _connector='OR'), name='assignment_slot_held_rightly'),
        ),
        migrations.AddConstraint(
            model_name='assignment',
            constraint=models.CheckConstraint(condition=models.Q(('slot__isnull', True), ('slot__gte', 1), _connector='OR'), name='assignment_slot_positive'),
        ),
        migrations.AddConstraint(
            model_name='assignment',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['leased', 'submitted', 'skipped', 'expired'])), name='assignment_status_known'),
        ),
        migrations.AddConstraint(
            model_name='taskresponse',
            constraint=models.UniqueConstraint(fields=('task', 'response'), name='task_response_once'),
        ),
        migrations.AddIndex(
            model_name='task',
            index=models.Index(condition=models.Q(('open_slots__gt', 0), ('state', 'open')), fields=['project', 'kind', '-priority', 'id'], name='task_queue'),
        ),
        migrations.AddIndex(
            model_name='task',
            index=models.Index(condition=models.Q(('open_slots__gt', 0), ('state', 'open')), fields=['project', 'kind', 'category', '-priority', 'id'], name='task_queue_category'),
        ),
        migrations.AddIndex(
            model_name='task',
            index=models.Index(condition=models.Q(('open_slots__gt', 0), ('state', 'open')), fields=['project', 'kind', 'category', '-priority', '-uncertainty', 'id'], name='task_queue_uncertain'),
        ),
        migrations.AddIndex(
            model_name='task',
            index=models.Index(condition=models.Q(('open_slots__gt', 0), ('state', 'open')), fields=['project', 'kind', 'language', '-priority', 'id'], name='task_queue_language'),
        ),
        migrations.AddIndex(
            model_name='task',
            index=models.Index(condition=models.Q(('state', 'review')), fields=['project', 'id'], name='task_review'),
        ),
        migrations.AddConstraint(
            model_name='task',
            constraint=models.UniqueConstraint(condition=models.Q(('kind', 'demonstration')), fields=('prompt',), name='task_one_demonstration'),
        ),
        migrations.AddConstraint(
            model_name='task',
            constraint=models.UniqueConstraint(condition=models.Q(('group_key', ''), _negated=True), fields=('project', 'kind', 'purpose', 'group_key'), name='task_group_once'),
        ),
        migrations.AddConstraint(
            model_name='task',
            constraint=models.CheckConstraint(condition=models.Q(('open_slots__gte', 0), ('open_slots__lte', models.F('overlap'))), name='task_open_slots_in_range'),
        ),
        migrations.AddConstraint(
            model_name='task',
            constraint=models.CheckConstraint(condition=models.Q(('overlap__gte', 1)), name='task_overlap_positive'),
        ),
        migrations.AddConstraint(
            model_name='task',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['demonstration', 'ranking', 'comparison', 'correction', 'prompt'])), name='task_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='task',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind', 'comparison'), _negated=True), ('purpose', 'eval'), _connector='OR'), name='task_comparison_is_eval'),
        ),
        migrations.AddConstraint(
            model_name='task',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('brief__isnull', False), ('kind', 'prompt'), ('prompt__isnull', True)), models.Q(models.Q(('kind', 'prompt'), _negated=True), ('brief__isnull', True), ('prompt__isnull', False)), _connector='OR'), name='task_prompt_or_brief'),
        ),
        migrations.AddConstraint(
            model_name='task',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind', 'prompt'), _negated=True), ('overlap', 1), _connector='OR'), name='task_prompt_written_once'),
        ),
        migrations.AddConstraint(
            model_name='task',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['open', 'complete', 'review', 'withdrawn'])), name='task_state_known'),
        ),
        migrations.AddIndex(
            model_name='writtenprompt',
            index=models.Index(fields=['project', 'is_current', 'id'], name='written_prompt_current'),
        ),
        migrations.AddIndex(
            model_name='writtenprompt',
            index=models.Index(fields=['project', '-submitted_at'], name='written_prompt_latest'),
        ),
        migrations.AddConstraint(
            model_name='writtenprompt',
            constraint=models.UniqueConstraint(fields=('assignment', 'revision'), name='written_prompt_revision_once'),
        ),
        migrations.AddConstraint(
            model_name='writtenprompt',
            constraint=models.UniqueConstraint(condition=models.Q(('is_current', True)), fields=('assignment',), name='written_prompt_one_current'),
        ),
        migrations.AddConstraint(
            model_name='writtenprompt',
            constraint=models.CheckConstraint(condition=models.Q(('revision__gte', 1)), name='written_prompt_revision_positive'),
        ),
        migrations.AddConstraint(
            model_name='writtenprompt',
            constraint=models.CheckConstraint(condition=models.Q(('origin__in', ['human', 'simulated', 'imported'])), name='written_prompt_origin_known'),
        ),
        migrations.AddConstraint(
            model_name='writtenprompt',
            constraint=models.CheckConstraint(condition=models.Q(('purpose__in', ['train', 'eval'])), name='written_prompt_purpose_known'),
        ),
        migrations.AddConstraint(
            model_name='writtenprompt',
            constraint=models.CheckConstraint(condition=models.Q(('active_seconds__gte', 0)), name='written_prompt_seconds_not_negative'),
        ),
    ]
