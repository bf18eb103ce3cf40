from django.db import migrations
from django.db.models import OuterRef, Subquery


def copy_categories(apps, schema_editor):
    """Tasks that are there already get their prompt's category."""
    prompts = apps.get_model("annotation", "Prompt").objects.filter(pk=OuterRef("prompt"))
    apps.get_model("annotation", "Task").objects.update(category=Subquery(prompts.values("category")[:1]))


class Migration(migrations.Migration):

    dependencies = [
        ('annotation', '0005_queue_policy'),
    ]

    operations = [
        migrations.RunPython(copy_categories, migrations.RunPython.noop),
    ]
