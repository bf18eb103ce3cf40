from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('annotation', '0003_kind_settings'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='project',
            name='project_overlap_in_range',
        ),
        migrations.RemoveField(
            model_name='project',
            name='demonstration_overlap',
        ),
        migrations.RemoveField(
            model_name='project',
            name='ranking_overlap',
        ),
    ]
