"""The tables as they stood on 28 November 2026, in one step; an installation of before made them in several, and keeps
some indexes that this leaves out."""

import annotation.ids
import annotation.models.accounts
import annotation.models.queue
import django.contrib.auth.models
import django.contrib.auth.validators
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [
        ('annotation', '0001_initial'),
    ]

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        migrations.CreateModel(
            name='SignInLink',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('digest', models.CharField(max_length=64, unique=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('expires_at', models.DateTimeField()),
                ('used_at', models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name='Task',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('demonstration', 'Demonstration'), ('ranking', 'Ranking'), ('comparison', 'Comparison of two models'), ('correction', 'Correction'), ('prompt', 'Prompt writing')], max_length=24)),
                ('overlap', models.PositiveSmallIntegerField(default=1)),
                ('open_slots', models.PositiveSmallIntegerField(help_text="Slots that nobody holds; changed under the row's lock")),
                ('category', models.CharField(choices=[('generation', 'Generation'), ('open_qa', 'Open QA'), ('brainstorming', 'Brainstorming'), ('chat', 'Chat'), ('rewrite', 'Rewrite'), ('summarization', 'Summarisation'), ('classification', 'Classification'), ('other', 'Other'), ('closed_qa', 'Closed QA'), ('extract', 'Extract')], default='other', max_length=24)),
                ('language', models.CharField(blank=True, default='en', max_length=16)),
                ('priority', models.IntegerField(default=0, help_text='Higher comes first')),
                ('uncertainty', models.FloatField(default=0, help_text='Bits (0 to 1) by which a reward model is unsure; 0: unknown')),
                ('skips', models.PositiveSmallIntegerField(default=0, help_text='Labelers who skipped it since it was last reviewed')),
                ('purpose', models.CharField(choices=[('train', 'train'), ('eval', 'eval')], default='train', max_length=8)),
                ('state', models.CharField(choices=[('open', 'Open'), ('complete', 'Complete'), ('review', 'In review'), ('withdrawn', 'Withdrawn')], default='open', max_length=16)),
                ('group_key', models.CharField(blank=True, default='', help_text="Hash of a ranking's answers, so that a group is one task", max_length=64)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'ordering': ['-priority', 'id'],
            },
        ),
        migrations.CreateModel(
            name='TaskResponse',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='WrittenPrompt',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('imported_guideline', models.CharField(blank=True, default='', help_text="An imported label's own guideline, by name or version", max_length=120)),
                ('submission_id', models.UUIDField(help_text='Made by the form; the same one twice is the same submit', unique=True)),
                ('revision', models.PositiveIntegerField(default=1)),
                ('is_current', models.BooleanField(default=True)),
                ('origin', models.CharField(choices=[('human', 'By a person'), ('simulated', 'Simulated'), ('imported', 'Imported')], default='human', max_length=16)),
                ('purpose', models.CharField(choices=[('train', 'Training'), ('eval', 'Evaluation only')], default='train', max_length=8)),
                ('counts', models.BooleanField(default=True, help_text='False: came when the task had all the labels it wanted')),
                ('started_at', models.DateTimeField()),
                ('submitted_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('active_seconds', models.FloatField(default=0, help_text='Time at work, idle time left out')),
                ('said', models.JSONField(default=dict, help_text='The form as it was filled in: its parts, category and language')),
            ],
            options={
                'ordering': ['-submitted_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='User',
            fields=[
                ('password', models.CharField(max_length=128, verbose_name='password')),
                ('last_login', models.DateTimeField(blank=True, null=True, verbose_name='last login')),
                ('is_superuser', models.BooleanField(default=False, help_text='Designates that this user has all permissions without explicitly assigning them.', verbose_name='superuser status')),
                ('username', models.CharField(error_messages={'unique': 'A user with that username already exists.'}, help_text='Required. 150 characters or fewer. Letters, digits and @/./+/-/_ only.', max_length=150, unique=True, validators=[django.contrib.auth.validators.UnicodeUsernameValidator()], verbose_name='username')),
                ('first_name', models.CharField(blank=True, max_length=150, verbose_name='first name')),
                ('last_name', models.CharField(blank=True, max_length=150, verbose_name='last name')),
                ('email', models.EmailField(blank=True, max_length=254, verbose_name='email address')),
                ('is_staff', models.BooleanField(default=False, help_text='Designates whether the user can log into this admin site.', verbose_name='staff status')),
                ('is_active', models.BooleanField(default=True, help_text='Designates whether this user should be treated as active. Unselect this instead of deleting accounts.', verbose_name='active')),
                ('date_joined', models.DateTimeField(default=django.utils.timezone.now, verbose_name='date joined')),
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('language', models.CharField(blank=True, default='', help_text='Empty: as the browser asks', max_length=16)),
                ('theme', models.CharField(choices=[('auto', 'As my device'), ('light', 'Light'), ('dark', 'Dark')], default='auto', max_length=8)),
                ('answers_layout', models.CharField(choices=[('side', 'Side by side'), ('stacked', 'Stacked')], default='side', max_length=8)),
                ('groups', models.ManyToManyField(blank=True, help_text='The groups this user belongs to. A user will get all permissions granted to each of their groups.', related_name='user_set', related_query_name='user', to='auth.group', verbose_name='groups')),
                ('user_permissions', models.ManyToManyField(blank=True, help_text='Specific permissions for this user.', related_name='user_set', related_query_name='user', to='auth.permission', verbose_name='user permissions')),
            ],
            options={
                'verbose_name': 'user',
                'verbose_name_plural': 'users',
                'abstract': False,
            },
            managers=[
                ('objects', django.contrib.auth.models.UserManager()),
            ],
        ),
        migrations.CreateModel(
            name='Guideline',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('version', models.PositiveIntegerField()),
                ('body', models.TextField()),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-version'],
            },
        ),
        migrations.CreateModel(
            name='ImportBatch',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(help_text='prompts, demonstrations, rankings or answers', max_length=24)),
                ('pool', models.CharField(blank=True, default='', help_text='For rows that name none', max_length=8)),
                ('source', models.CharField(max_length=120)),
                ('licence', models.CharField(blank=True, default='', max_length=120)),
                ('consent', models.TextField(blank=True, default='', help_text="On what ground these people's data may be used")),
                ('filename', models.CharField(blank=True, default='', max_length=255)),
                ('sha256', models.CharField(help_text='Of the file, which lies staged under this name', max_length=64)),
                ('size', models.PositiveBigIntegerField(default=0, help_text='Bytes of the file as it was sent')),
                ('format', models.CharField(blank=True, default='', help_text='Empty: as the first row looks', max_length=32)),
                ('mapping', models.JSONField(blank=True, default=dict, help_text="Our fields to the file's columns, where chosen")),
                ('accept_bad_lines', models.BooleanField(default=False)),
                ('state', models.CharField(choices=[('staged', 'Not started'), ('queued', 'Waiting'), ('running', 'Running'), ('succeeded', 'Done'), ('refused', 'Refused'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='succeeded', max_length=16)),
                ('phase', models.CharField(blank=True, choices=[('check', 'Checking'), ('write', 'Writing')], default='', max_length=8)),
                ('position', models.PositiveBigIntegerField(default=0, help_text='Rows read in this phase')),
                ('position_bytes', models.PositiveBigIntegerField(default=0, help_text='Bytes of the file read in this phase')),
                ('rows', models.PositiveBigIntegerField(default=0, help_text='Rows of the file, known after the check')),
                ('cancel_asked', models.BooleanField(default=False)),
                ('message', models.TextField(blank=True, default='', help_text='Why it failed')),
                ('attempt', models.PositiveIntegerField(default=0, help_text='The fencing token: only a claim adds to it')),
                ('worker', models.CharField(blank=True, default='', max_length=120)),
                ('lease_until', models.DateTimeField(blank=True, null=True)),
                ('lost_count', models.PositiveIntegerField(default=0)),
                ('queued_at', models.DateTimeField(blank=True, null=True)),
                ('phase_at', models.DateTimeField(blank=True, help_text='When this phase began, for the time left', null=True)),
                ('phase_from', models.PositiveBigIntegerField(default=0, help_text='The position at which this attempt took it up')),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('added', models.PositiveIntegerField(default=0)),
                ('known', models.PositiveIntegerField(default=0, help_text='Rows that were here already')),
                ('rejected_count', models.PositiveIntegerField(default=0)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('undone_at', models.DateTimeField(blank=True, help_text='Its rows are hidden: undone, or it ended while writing', null=True)),
                ('cleared_at', models.DateTimeField(blank=True, help_text='What it wrote before it ended unseen is removed', null=True)),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at', '-id'],
            },
        ),
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
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('imported_name', models.CharField(blank=True, default='', max_length=200)),
                ('role', models.CharField(choices=[('labeler', 'Labeler'), ('reviewer', 'Reviewer'), ('admin', 'Admin'), ('researcher', 'Researcher')], max_length=16)),
                ('pseudonym', models.CharField(default=annotation.models.accounts.random_pseudonym, editable=False, max_length=16)),
                ('is_active', models.BooleanField(default=True)),
                ('removed_at', models.DateTimeField(blank=True, help_text='Taken out for good; what they made stays', null=True)),
                ('daily_limit', models.PositiveSmallIntegerField(blank=True, help_text='Tasks a day at most; empty: as the project says', null=True)),
                ('languages', models.JSONField(blank=True, default=list, help_text="Codes of prompts' languages; empty: all")),
                ('declined_topics', models.JSONField(blank=True, default=list, help_text='Sensitive topics that they opted out of')),
                ('is_simulated', models.BooleanField(default=False, help_text='A program that labels; its labels are marked so')),
                ('joined_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='memberships', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['joined_at', 'id'],
            },
        ),
        migrations.CreateModel(
            name='GuidelineAcknowledgement',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('guideline', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='acknowledgements', to='annotation.guideline')),
                ('membership', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='acknowledgements', to='annotation.membership')),
            ],
            options={
                'ordering': ['-created_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='Assignment',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('status', models.CharField(choices=[('leased', 'In work'), ('submitted', 'Submitted'), ('skipped', 'Skipped'), ('expired', 'Lease ran out')], default='leased', max_length=16)),
                ('slot', models.PositiveSmallIntegerField(blank=True, help_text='1..overlap; null when it holds none', null=True)),
                ('lease_until', models.DateTimeField()),
                ('presented_order', models.JSONField(default=list, help_text='Response ids in the order this labeler sees them')),
                ('draft', models.JSONField(default=dict)),
                ('draft_saved_at', models.DateTimeField(blank=True, null=True)),
                ('skip_reason', models.CharField(blank=True, choices=[('unclear', 'The prompt is too unclear'), ('no_knowledge', "I don't know enough to judge"), ('sensitive', "I'd rather not work on this topic"), ('language', "I don't read this language well enough"), ('broken', 'Something is displayed wrongly'), ('other', 'Another reason')], default='', max_length=24)),
                ('skip_note', models.TextField(blank=True, default='')),
                ('assigned_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('labeler', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='assignments', to='annotation.membership')),
            ],
            options={
                'ordering': ['-assigned_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='ApiToken',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=80)),
                ('prefix', models.CharField(help_text='First characters, to recognise it by', max_length=16)),
                ('digest', models.CharField(max_length=64, unique=True)),
                ('scopes', models.JSONField(default=list)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('expires_at', models.DateTimeField()),
                ('used_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('membership', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='api_tokens', to='annotation.membership')),
            ],
            options={
                'ordering': ['-created_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='Project',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('slug', models.SlugField(max_length=64, unique=True)),
                ('name', models.CharField(max_length=120)),
                ('description', models.TextField(blank=True, default='')),
                ('responses_per_prompt', models.PositiveSmallIntegerField(default=4, help_text='K: answers sampled for each prompt')),
                ('split_salt', models.CharField(default=annotation.models.accounts.random_salt, editable=False, max_length=32)),
                ('validation_percent', models.PositiveSmallIntegerField(default=5, editable=False)),
                ('test_percent', models.PositiveSmallIntegerField(default=5, editable=False)),
                ('is_demo', models.BooleanField(default=False)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['name', 'id'],
            },
        ),
        migrations.AddField(
            model_name='membership',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='annotation.project'),
        ),
        migrations.CreateModel(
            name='LabelComment',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('revision', models.PositiveIntegerField(help_text='Of the label, as the reviewer read it')),
                ('body', models.TextField()),
                ('returns', models.BooleanField(default=False, help_text='The label goes back to its labeler')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('closed_at', models.DateTimeField(blank=True, help_text='When the next revision came', null=True)),
                ('seen_at', models.DateTimeField(blank=True, help_text='When the labeler saw it', null=True)),
                ('assignment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='comments', to='annotation.assignment')),
                ('author', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='label_comments', to='annotation.project')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='KindSettings',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('demonstration', 'Demonstration'), ('ranking', 'Ranking'), ('comparison', 'Comparison of two models'), ('correction', 'Correction'), ('prompt', 'Prompt writing')], max_length=24)),
                ('overlap', models.PositiveSmallIntegerField(default=1, help_text='Labels wanted for each task', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100)])),
                ('sampled_percent', models.PositiveSmallIntegerField(default=0, help_text='Share of tasks with an overlap apart', validators=[django.core.validators.MaxValueValidator(100)])),
                ('sampled_overlap', models.PositiveSmallIntegerField(default=1, help_text='Labels wanted for each task of that share', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100)])),
                ('weight', models.PositiveSmallIntegerField(default=1, help_text='How often it comes; 0: not handed out', validators=[django.core.validators.MaxValueValidator(1000)])),
                ('target_labels', models.PositiveIntegerField(blank=True, help_text='Labels wanted in all; empty: no target', null=True, validators=[django.core.validators.MaxValueValidator(100000000)])),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='kind_settings', to='annotation.project')),
            ],
            options={
                'ordering': ['project', 'kind'],
            },
        ),
        migrations.CreateModel(
            name='Invitation',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('role', models.CharField(choices=[('labeler', 'Labeler'), ('reviewer', 'Reviewer'), ('admin', 'Admin'), ('researcher', 'Researcher')], max_length=16)),
                ('note', models.CharField(blank=True, default='', help_text='For whom it is', max_length=120)),
                ('digest', models.CharField(max_length=64, unique=True)),
                ('max_uses', models.PositiveSmallIntegerField(default=1)),
                ('uses', models.PositiveSmallIntegerField(default=0)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('expires_at', models.DateTimeField()),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='invitations', to='annotation.project')),
            ],
            options={
                'ordering': ['-created_at', '-id'],
            },
        ),
        migrations.AddField(
            model_name='importbatch',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='import_batches', to='annotation.project'),
        ),
        migrations.AddField(
            model_name='guideline',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='guidelines', to='annotation.project'),
        ),
        migrations.CreateModel(
            name='FormVersion',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(help_text='The task kind', max_length=24)),
                ('version', models.PositiveIntegerField()),
                ('fields', models.JSONField(default=dict)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='forms', to='annotation.project')),
            ],
            options={
                'ordering': ['kind', '-version'],
            },
        ),
        migrations.CreateModel(
            name='AuditEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('actor_name', models.CharField(help_text="Kept when the account goes; 'system' for Plackett itself", max_length=150)),
                ('verb', models.CharField(help_text='noun.verb, such as run.cancel', max_length=64)),
                ('target_type', models.CharField(max_length=40)),
                ('target_id', models.CharField(max_length=64)),
                ('detail', models.JSONField(default=dict)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('actor', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='audit_events', to='annotation.project')),
            ],
            options={
                'ordering': ['-created_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='Prompt',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('messages', models.JSONField(help_text='[{role: system|user|assistant, content}]')),
                ('source', models.CharField(choices=[('labeler', 'Written by the team'), ('import', 'Imported'), ('chat', 'From a chat')], max_length=16)),
                ('source_name', models.CharField(blank=True, default='', max_length=120)),
                ('source_id', models.CharField(blank=True, default='', max_length=200)),
                ('group', models.CharField(max_length=200)),
                ('split', models.CharField(choices=[('train', 'Train'), ('validation', 'Validation'), ('test', 'Test')], max_length=16)),
                ('pool', models.CharField(choices=[('sft', 'Demonstrations (SFT)'), ('rm', 'Rankings (reward model)'), ('ppo', 'PPO'), ('eval', 'Evaluation')], max_length=8)),
                ('category', models.CharField(choices=[('generation', 'Generation'), ('open_qa', 'Open QA'), ('brainstorming', 'Brainstorming'), ('chat', 'Chat'), ('rewrite', 'Rewrite'), ('summarization', 'Summarisation'), ('classification', 'Classification'), ('other', 'Other'), ('closed_qa', 'Closed QA'), ('extract', 'Extract')], default='other', max_length=24)),
                ('language', models.CharField(default='en', max_length=16)),
                ('content_hash', models.CharField(max_length=64)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('withdrawn_at', models.DateTimeField(blank=True, help_text='No longer offered; its labels stay', null=True)),
                ('author', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotation.membership')),
                ('batch', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='prompts', to='annotation.importbatch')),
                ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='prompts', to='annotation.project')),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='Demonstration',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('imported_guideline', models.CharField(blank=True, default='', help_text="An imported label's own guideline, by name or version", max_length=120)),
                ('submission_id', models.UUIDField(help_text='Made by the form; the same one twice is the same submit', unique=True)),
                ('revision', models.PositiveIntegerField(default=1)),
                ('is_current', models.BooleanField(default=True)),
                ('origin', models.CharField(choices=[('human', 'By a person'), ('simulated', 'Simulated'), ('imported', 'Imported')], default='human', max_length=16)),
                ('purpose', models.CharField(choices=[('train', 'Training'), ('eval', 'Evaluation only')], default='train', max_length=8)),
                ('counts', models.BooleanField(default=True, help_text='False: came when the task had all the labels it wanted')),
                ('started_at', models.DateTimeField()),
                ('submitted_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('active_seconds', models.FloatField(default=0, help_text='Time at work, idle time left out')),
                ('assignment', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.assignment')),
                ('form', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotation.formversion')),
                ('guideline', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotation.guideline')),
                ('batch', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.importbatch')),
                ('labeler', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.membership')),
                ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='%(class)ss', to='annotation.project')),
                ('prompt', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.prompt')),
            ],
            options={
                'ordering': ['-submitted_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='PromptBrief',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('style', models.CharField(choices=[('plain', 'Plain: anything'), ('few_shot', 'Few-shot: an instruction with examples'), ('user_based', 'User-based: from a use case')], max_length=16)),
                ('use_case', models.TextField(blank=True, default='', help_text='What a user-based prompt is written from')),
                ('language', models.CharField(blank=True, default='', help_text='Empty: the labeler chooses', max_length=16)),
                ('pool', models.CharField(choices=[('sft', 'Demonstrations (SFT)'), ('rm', 'Rankings (reward model)'), ('ppo', 'PPO'), ('eval', 'Evaluation')], max_length=8)),
                ('follow_up', models.CharField(blank=True, choices=[('', 'Nothing: they wait in their pool'), ('demonstration', 'A task to write its answer')], default='', help_text='What is made of each prompt at once', max_length=16)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='prompt_briefs', to='annotation.project')),
            ],
            options={
                'ordering': ['-created_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='PromptTopic',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('topic', models.CharField(choices=[('sexual', 'Sexual content'), ('violence', 'Violence and death'), ('self_harm', 'Self-harm and suicide'), ('abuse', 'Abuse of people or animals'), ('hate', 'Hate and discrimination'), ('drugs', 'Drugs and addiction'), ('politics', 'Politics'), ('religion', 'Religion'), ('health', 'Illness and medicine')], max_length=24)),
                ('prompt', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='topics', to='annotation.prompt')),
            ],
            options={
                'ordering': ['prompt', 'topic'],
            },
        ),
        migrations.CreateModel(
            name='Question',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('state', models.CharField(choices=[('open', 'Open'), ('answered', 'Answered'), ('resolved', 'Resolved')], default='open', max_length=16)),
                ('asked_at', models.DateTimeField(default=django.utils.timezone.now, help_text='When it last became open')),
                ('seen_at', models.DateTimeField(blank=True, help_text='When its labeler last looked at it', null=True)),
                ('news', models.BooleanField(default=False, help_text='Something was said that its labeler has not seen')),
                ('assignment', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='question', to='annotation.assignment')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='questions', to='annotation.project')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='QuestionMessage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('by_labeler', models.BooleanField(help_text='False: by a lead')),
                ('body', models.TextField()),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('author', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('question', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='messages', to='annotation.question')),
            ],
            options={
                'ordering': ['question', 'id'],
            },
        ),
        migrations.CreateModel(
            name='QueuePolicy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('quotas', models.JSONField(blank=True, default=annotation.models.queue.default_quotas, help_text='{category: share}; empty: no quotas')),
                ('uncertain_first', models.BooleanField(default=False)),
                ('daily_limit', models.PositiveSmallIntegerField(blank=True, help_text="Tasks a day for each labeler at most; a labeler's own limit comes before it", null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(10000)])),
                ('review_after_skips', models.PositiveSmallIntegerField(default=3, help_text='0: skipped tasks never go to review', validators=[django.core.validators.MaxValueValidator(100)])),
                ('project', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='queue_policy', to='annotation.project')),
            ],
        ),
        migrations.CreateModel(
            name='Ranking',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('imported_guideline', models.CharField(blank=True, default='', help_text="An imported label's own guideline, by name or version", max_length=120)),
                ('submission_id', models.UUIDField(help_text='Made by the form; the same one twice is the same submit', unique=True)),
                ('revision', models.PositiveIntegerField(default=1)),
                ('is_current', models.BooleanField(default=True)),
                ('origin', models.CharField(choices=[('human', 'By a person'), ('simulated', 'Simulated'), ('imported', 'Imported')], default='human', max_length=16)),
                ('purpose', models.CharField(choices=[('train', 'Training'), ('eval', 'Evaluation only')], default='train', max_length=8)),
                ('counts', models.BooleanField(default=True, help_text='False: came when the task had all the labels it wanted')),
                ('started_at', models.DateTimeField()),
                ('submitted_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('active_seconds', models.FloatField(default=0, help_text='Time at work, idle time left out')),
                ('prompt_fields', models.JSONField(default=dict, help_text="What was said of the prompt, by the form's keys")),
                ('assignment', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.assignment')),
                ('batch', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.importbatch')),
                ('form', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotation.formversion')),
                ('guideline', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='annotation.guideline')),
                ('labeler', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.membership')),
                ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='%(class)ss', to='annotation.project')),
                ('prompt', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='%(class)ss', to='annotation.prompt')),
            ],
            options={
                'ordering': ['-submitted_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='RankedResponse',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveSmallIntegerField(help_text='Where it was shown, from 0')),
                ('rank', models.PositiveSmallIntegerField(blank=True, null=True)),
                ('rating', models.PositiveSmallIntegerField(blank=True, null=True)),
                ('flags', models.JSONField(default=list)),
                ('ranking', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='ranked_responses', to='annotation.ranking')),
            ],
            options={
                'ordering': ['ranking', 'position'],
            },
        ),
        migrations.CreateModel(
            name='Response',
            fields=[
                ('id', models.UUIDField(default=annotation.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('text', models.TextField(blank=True)),
                ('content_hash', models.CharField(max_length=64)),
                ('origin', models.CharField(choices=[('human', 'Written by a labeler'), ('model', 'Sampled from a model'), ('imported', 'Imported')], max_length=16)),
                ('imported_author', models.CharField(blank=True, default='', max_length=200)),
                ('decoding', models.JSONField(default=dict, help_text='temperature, top_p, max_new_tokens, seed')),
                ('index', models.PositiveSmallIntegerField(default=0, help_text='Which of the K samples of its run')),
                ('tokens', models.PositiveIntegerField(blank=True, null=True)),
                ('logprob', models.FloatField(blank=True, help_text='Sum over tokens, nats', null=True)),
                ('ended', models.BooleanField(help_text='Whether the model ended it, rather than the length limit', null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('author', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='responses', to='annotation.membership')),
                ('batch', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='responses', to='annotation.importbatch')),
            ],
            options={
                'ordering': ['id'],
            },
        ),
    ]
