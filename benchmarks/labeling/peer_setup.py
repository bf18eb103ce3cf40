"""Run by Label Studio's own interpreter: its tables, the accounts, and a project that ranks answers. Prints JSON.

PYTHON peer_setup.py '{"accounts": 8, "password": "..."}'
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

CONFIG = """<View>
  <Text name="prompt" value="$prompt"/>
  <List name="answers" value="$items" title="Answers"/>
  <Ranker name="rank" toName="answers"/>
</View>"""


def main() -> None:
    spec = json.loads(sys.argv[1])
    import label_studio

    sys.path.insert(0, str(Path(label_studio.__file__).parent))
    os.environ["DJANGO_SETTINGS_MODULE"] = "core.settings.label_studio"
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=0)
    from organizations.models import Organization
    from projects.models import Project
    from users.models import User

    emails = [f"labeler{number}@example.org" for number in range(spec["accounts"])]
    users = [User.objects.create_user(email=email, password=spec["password"]) for email in emails]
    organization = Organization.create_organization(created_by=users[0], title="Bench")
    for user in users:
        if user != users[0]:
            organization.add_user(user)
        user.active_organization = organization
        user.save()
    project = Project.objects.create(
        title="Answers to rank",
        label_config=CONFIG,
        created_by=users[0],
        organization=organization,
        maximum_annotations=1,
    )
    print(json.dumps({"project": project.pk, "emails": emails}), flush=True)


if __name__ == "__main__":
    main()
