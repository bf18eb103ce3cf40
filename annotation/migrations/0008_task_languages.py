from django.db import migrations
from django.db.models import OuterRef, Subquery


def copy_languages(apps, schema_editor):
    """Tasks that are there already get their prompt's language."""
    prompts = apps.get_model("annotation", "Prompt").objects.filter(pk=OuterRef("prompt"))
    apps.get_model("annotation", "Task").objects.update(language=Subquery(prompts.values("language")[:1]))


class Migration(migrations.Migration):

    dependencies = [
        ('annotation', '0007_limits'),
    ]

    operations = [
        migrations.RunPython(copy_languages, migrations.RunPython.noop),
    ]
