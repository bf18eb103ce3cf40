"""Every address, asked by every role, by an outsider and by nobody, in pages and API: what each may do.

The table is written by hand, apart from `annotation.roles`, so that a change of a role has to be made twice to go
unnoticed. An address that is missing here fails the last test.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from annotation.models import Assignment, ImportBatch, Membership, Project, PromptBrief, User
from annotation.services.feedback import question_ask
from annotation.services.invitations import invitation_create
from annotation.services.labels import demonstration_submit
from annotation.services.tokens import token_create
from tests.factories import (
    ArtifactFactory,
    MembershipFactory,
    ModelFactory,
    ProjectFactory,
    PromptFactory,
    RunFactory,
    TaskFactory,
    UserFactory,
    lease,
)
from training.models import Checkpoint, Webhook
from training.services.exports import export_create
from training.services.snapshots import snapshot_build

pytestmark = pytest.mark.django_db

ROLES = {"l": "labeler", "v": "reviewer", "r": "researcher", "a": "admin"}
ALL, TEAM, LABELERS, ADMIN = "lvra", "vra", "lva", "a"

# name: {method: roles that may}; everyone else gets 404.
PAGES: dict[str, dict[str, str]] = {
    "project": {"GET": ALL},
    "label": {"GET": LABELERS, "POST": LABELERS},
    "assignment": {"GET": LABELERS, "POST": LABELERS},
    "assignment_draft": {"POST": LABELERS},
    "assignment_heartbeat": {"POST": LABELERS},
    "assignment_skip": {"POST": LABELERS},
    "history": {"GET": LABELERS},
    "guidelines": {"GET": ALL},
    "settings": {"GET": ADMIN, "POST": ADMIN},
    "assignment_question": {"POST": LABELERS},
    "guidelines_acknowledge": {"GET": LABELERS, "POST": LABELERS},
    "ranking_form": {"GET": ALL},
    "ranking_form_edit": {"GET": "va", "POST": "va"},
    "questions": {"GET": "va"},
    "question": {"GET": "va", "POST": "va"},
    "label_comment": {"POST": "va"},
    "queue": {"GET": "va"},
    "queue_policy": {"GET": "va", "POST": "va"},
    "queue_review": {"GET": "va"},
    "queue_limits": {"GET": "va"},
    "comparisons": {"GET": "va", "POST": "va"},
    "corrections": {"POST": "va"},
    "prompt_writing": {"GET": "va", "POST": "va"},
    "prompt_writing_withdraw": {"POST": "va"},
    "queue_limits_set": {"POST": "va"},
    "prompt_topics": {"POST": "va"},
    "topics": {"GET": LABELERS, "POST": LABELERS},
    "queue_review_decide": {"POST": "va"},
    "guideline_edit": {"GET": "va", "POST": "va"},
    "guideline_preview": {"POST": "va"},
    "people": {"GET": ADMIN, "POST": ADMIN},
    "invitations": {"GET": ADMIN, "POST": ADMIN},
    "invitation_withdraw": {"POST": ADMIN},
    "member": {"POST": ADMIN},
    "member_link": {"POST": ADMIN},
    "tokens": {"GET": TEAM, "POST": TEAM},
    "token_revoke": {"POST": TEAM},
    "audit": {"GET": ADMIN},
    "prompts": {"GET": TEAM},
    "prompts_paste": {"GET": ADMIN, "POST": ADMIN},
    "prompts_import": {"GET": ADMIN, "POST": ADMIN},
    "import_report": {"GET": TEAM},
    "import_report_file": {"GET": TEAM},
    "import_live": {"GET": TEAM},
    "import_start": {"POST": ADMIN},
    "import_cancel": {"POST": ADMIN},
    "import_good": {"POST": ADMIN},
    "import_undo": {"POST": ADMIN},
    "prompt": {"GET": TEAM},
    "prompt_withdraw": {"POST": ADMIN},
    "dashboard": {"GET": TEAM},
    "loop_live": {"GET": TEAM},
    "hand_out": {"POST": ADMIN},
    "run_new": {"GET": ADMIN, "POST": ADMIN},
    "runs": {"GET": TEAM},
    "run": {"GET": TEAM},
    "run_live": {"GET": TEAM},
    "run_samples": {"GET": TEAM},
    "run_metrics": {"GET": TEAM},
    "run_figures": {"GET": TEAM},
    "run_report": {"GET": TEAM},
    "run_action": {"POST": ADMIN},
    "run_queue": {"GET": TEAM},
    "run_move": {"POST": ADMIN},
    "run_checkpoint": {"POST": ADMIN},
    "run_delete": {"GET": ADMIN, "POST": ADMIN},
    "webhooks": {"GET": ADMIN, "POST": ADMIN},
    "webhook": {"GET": ADMIN, "POST": ADMIN},
    "webhook_action": {"POST": ADMIN},
    "models": {"GET": TEAM},
    "model_register": {"GET": ADMIN, "POST": ADMIN},
    "model": {"GET": TEAM},
    "model_hashes": {"GET": TEAM},
    "snapshots": {"GET": TEAM},
    "snapshot_new": {"GET": "ra", "POST": "ra"},
    "snapshot_preview": {"POST": "ra"},
    "corpus_new": {"GET": ADMIN, "POST": ADMIN},
    "snapshot": {"GET": TEAM},
    "snapshot_download": {"GET": "ra"},
    "snapshot_export": {"POST": "ra"},
    "snapshot_tokens": {"POST": "ra"},
    "snapshot_push": {"POST": "ra"},
    "snapshot_leaks": {"GET": TEAM, "POST": "ra"},
    "snapshot_difference": {"GET": TEAM},
    "data_labels": {"GET": TEAM},
    "data_label": {"GET": TEAM},
    "member_traces": {"GET": ADMIN, "POST": ADMIN},
    "snapshot_erase": {"POST": ADMIN},
    "job": {"GET": "ra"},
    "job_live": {"GET": "ra"},
    "job_cancel": {"POST": "ra"},
}
API: dict[str, dict[str, str]] = {
    "annotation:prompts": {"GET": TEAM, "POST": ADMIN},
    "annotation:prompt": {"GET": TEAM},
    "annotation:imports": {"GET": TEAM, "POST": ADMIN},
    "annotation:import": {"GET": TEAM, "PATCH": ADMIN},
    "annotation:import_preview": {"GET": TEAM},
    "annotation:import_bad_lines": {"GET": TEAM},
    "annotation:import_start": {"POST": ADMIN},
    "annotation:import_cancel": {"POST": ADMIN},
    "annotation:import_good": {"POST": ADMIN},
    "annotation:import_undo": {"POST": ADMIN},
    "annotation:demonstrations": {"GET": TEAM},
    "annotation:rankings": {"GET": TEAM},
    "annotation:label_stream": {"GET": TEAM},
    "annotation:queue": {"GET": "va"},
    "annotation:comparisons": {"GET": "va", "POST": "va"},
    "annotation:corrections": {"POST": "va"},
    "annotation:prompt_writing": {"GET": "va", "POST": "va"},
    "annotation:prompt_writing_withdraw": {"POST": "va"},
    "annotation:queue_policy": {"GET": "va", "PATCH": "va"},
    "annotation:queue_scores": {"POST": "va"},
    "annotation:forms": {"GET": ALL, "POST": "va"},
    "annotation:guidelines": {"GET": ALL},
    "annotation:acknowledge": {"POST": LABELERS},
    "annotation:ask": {"POST": LABELERS},
    "annotation:feedback": {"GET": LABELERS},
    "annotation:questions": {"GET": "va"},
    "annotation:question": {"GET": "va"},
    "annotation:answer": {"POST": "va"},
    "annotation:resolve": {"POST": "va"},
    "annotation:comments": {"GET": "va", "POST": "va"},
    "annotation:next_task": {"POST": LABELERS},
    "annotation:assignment": {"GET": LABELERS},
    "annotation:submit": {"POST": LABELERS},
    "annotation:skip": {"POST": LABELERS},
    "annotation:draft": {"PUT": LABELERS},
    "annotation:heartbeat": {"POST": LABELERS},
    "training:snapshots": {"GET": TEAM, "POST": "ra"},
    "training:snapshot": {"GET": TEAM},
    "training:download": {"GET": "ra"},
    "training:preview": {"POST": "ra"},
    "training:formats": {"GET": TEAM},
    "training:exports": {"GET": "ra", "POST": "ra"},
    "training:tokens": {"GET": TEAM, "POST": "ra"},
    "training:push": {"POST": "ra"},
    "training:leaks": {"GET": TEAM, "POST": "ra"},
    "training:difference": {"GET": TEAM},
    "training:job": {"GET": "ra", "DELETE": "ra"},
    "training:runs": {"GET": TEAM, "POST": ADMIN},
    "training:run": {"GET": TEAM},
    "training:metrics": {"GET": TEAM},
    "training:cancel": {"POST": ADMIN},
    "training:pause": {"POST": ADMIN},
    "training:resume": {"POST": ADMIN},
    "training:retry": {"POST": ADMIN},
    "training:models": {"GET": TEAM},
    "training:run_queue": {"GET": TEAM},
    "training:move": {"POST": ADMIN},
    "training:checkpoints": {"GET": TEAM, "POST": ADMIN},
    "training:delete": {"GET": ADMIN, "POST": ADMIN},
    "training:notices": {"GET": TEAM, "POST": TEAM},
    "training:webhooks": {"GET": ADMIN, "POST": ADMIN},
    "training:webhook": {"GET": ADMIN, "PATCH": ADMIN, "DELETE": ADMIN},
    "training:webhook_test": {"POST": ADMIN},
}
# Addresses outside projects, with what tests them.
ELSEWHERE = {
    "healthz": "open to monitors: tests/config/test_health.py",
    "readyz": "open to monitors: tests/config/test_health.py",
    "schema": "signed in: test_the_api_is_closed_to_nobody",
    "swagger": "signed in: test_the_api_is_closed_to_nobody",
    "annotation:projects": "test_projects_lists_ones_own",
    "frontend:home": "tests/frontend/test_accounts.py",
    "frontend:sign_in": "tests/frontend/test_accounts.py",
    "frontend:sign_in_link": "tests/frontend/test_accounts.py",
    "frontend:sign_out": "tests/frontend/test_accounts.py",
    "frontend:join": "tests/frontend/test_people.py",
    "frontend:profile": "tests/frontend/test_accounts.py",
    "frontend:language": "tests/frontend/test_accounts.py",
    "frontend:theme": "tests/frontend/test_accounts.py",
    "frontend:answers_layout": "tests/frontend/test_accounts.py",
    "frontend:project_new": "tests/frontend/test_projects.py",
    "frontend:export_file": "whoever has the signed link: tests/frontend/test_exports.py",
    "frontend:notices": "tests/frontend/test_notices.py",
    "frontend:notices_mark": "tests/frontend/test_notices.py",
    "frontend:notice_choices": "tests/frontend/test_notices.py",
    "frontend:workers": "tests/frontend/test_workers.py",
    "frontend:worker_drain": "tests/frontend/test_workers.py",
    "training:workers": "tests/frontend/test_workers.py",
    "training:worker_drain": "tests/frontend/test_workers.py",
    "training:worker_undrain": "tests/frontend/test_workers.py",
}


def patterns(
    resolver: URLResolver | None = None, namespace: str = "", outer: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for pattern in (resolver or get_resolver()).url_patterns:
        names = outer + tuple(pattern.pattern.converters)
        if isinstance(pattern, URLResolver):
            inner = namespace + (f"{pattern.namespace}:" if pattern.namespace else "")
            yield from patterns(pattern, inner, names)
        elif isinstance(pattern, URLPattern):
            yield f"{namespace}{pattern.name}", names


PATTERNS = dict(patterns())
TABLE = {f"frontend:{name}": methods for name, methods in PAGES.items()} | API


@dataclass
class Place:
    """A project with one row of everything, and a member of each role."""

    project: Project
    members: dict[str, Membership]
    ids: dict[str, Any]
    assignments: dict[str, Assignment] = field(default_factory=dict)
    tokens: dict[str, Any] = field(default_factory=dict)

    def arguments(self, name: str, role: str) -> dict[str, Any]:
        """The address's arguments, with the role's own assignment and token where there is one."""
        own = self.assignments.get(role) or self.assignments["l"]
        token = self.tokens.get(role) or self.tokens["a"]
        known = {
            **self.ids,
            "slug": self.project.slug,
            "assignment_id": own.pk,
            "token_id": token.pk,
            "action": "test" if name == "frontend:webhook_action" else "cancel",
            "id": own.pk if "assign" in name or name in OWN_IN_API else self.ids.get(API_ROW.get(name, ""), own.pk),
        }
        return {key: known[key] for key in PATTERNS[name]}


OWN_IN_API = {
    *("annotation:submit", "annotation:skip", "annotation:draft", "annotation:heartbeat"),
    *("annotation:ask", "annotation:feedback"),
}
API_ROW = {
    "annotation:prompt": "prompt_id",
    "annotation:comments": "label_id",
    "annotation:prompt_writing_withdraw": "brief_id",
    **dict.fromkeys(["annotation:question", "annotation:answer", "annotation:resolve"], "question_id"),
    **dict.fromkeys(
        ["annotation:import", "annotation:import_preview", "annotation:import_bad_lines", "annotation:import_start"],
        "batch_id",
    ),
    **dict.fromkeys(["annotation:import_cancel", "annotation:import_good", "annotation:import_undo"], "batch_id"),
    "training:snapshot": "snapshot_id",
    "training:download": "snapshot_id",
    **dict.fromkeys(
        [
            *("training:formats", "training:exports", "training:tokens", "training:push"),
            *("training:leaks", "training:difference"),
        ],
        "snapshot_id",
    ),
    "training:job": "job_id",
    **dict.fromkeys(
        [
            *("training:run", "training:metrics", "training:cancel", "training:pause", "training:resume"),
            *("training:retry", "training:move", "training:checkpoints", "training:delete"),
        ],
        "run_id",
    ),
    **dict.fromkeys(
        ["training:webhook", "training:webhook_test"],
        "webhook_id",
    ),
}


@pytest.fixture
def place() -> Place:
    return make_place("here")


def make_place(slug: str) -> Place:
    project = ProjectFactory(slug=slug)
    members = {
        letter: MembershipFactory(project=project, user=UserFactory(username=f"{slug}-{role}"), role=role)
        for letter, role in ROLES.items()
    }
    TaskFactory(prompt=PromptFactory(project=project))
    labeled = lease(members["l"])
    label = demonstration_submit(
        assignment=labeled,
        text="An answer.",
        submission_id=uuid.uuid4(),
        started_at=None,
        active_seconds=1,
        by=members["l"],
    )
    # The one that pages compare with, and the one that they are asked for.
    asked = {"splits": ["train"]}
    snapshot_build(project=project, kind="demonstrations", query=asked, by=members["a"].user)
    snapshot = snapshot_build(project=project, kind="demonstrations", by=members["a"].user)
    batch = ImportBatch.objects.create(project=project, kind="prompts", source="a file", sha256="0" * 64)
    ids = {
        "prompt_id": PromptFactory(project=project, batch=batch).pk,
        "batch_id": batch.pk,
        "label_id": label.pk,
        "question_id": question_ask(assignment=labeled, body="Why?", by=members["l"]).pk,
        "invitation_id": invitation_create(project=project, role="labeler", days=1, max_uses=1, by=members["a"])[0].pk,
        "task_id": TaskFactory(prompt=PromptFactory(project=project), state="review").pk,
        "member_id": members["r"].pk,
        "brief_id": PromptBrief.objects.create(project=project, style="plain", pool="sft").pk,
        "run_id": (run := RunFactory(project=project)).pk,
        "checkpoint_id": Checkpoint.objects.create(
            run=run, attempt=1, step=1, artifact=ArtifactFactory(kind="checkpoint")
        ).pk,
        "webhook_id": Webhook.objects.create(
            project=project, url="https://example.org/", kinds=["failed"], salt="s"
        ).pk,
        "stage": "sft",
        "model_id": ModelFactory(project=project).pk,
        "snapshot_id": snapshot.pk,
        "kind": "demonstrations",
        "job_id": export_create(snapshot=snapshot, by=members["a"].user).pk,
        "split": "train",
        "form": "canonical",
        "ending": "csv",
    }
    place = Place(project, members, ids)
    for letter in LABELERS:
        TaskFactory(prompt=PromptFactory(project=project))
        place.assignments[letter] = lease(members[letter])
    for letter in TEAM:
        place.tokens[letter], _secret = token_create(
            membership=members[letter], name="mine", scopes=["read"], days=1, by=members[letter].user
        )
    return place


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    User.objects.filter(pk=user.pk).update(last_login=None)  # links are for accounts that nobody used yet
    return client


def ask(client: Client, method: str, address: str) -> Any:
    return client.generic(method, address, b"{}" if "/api/" in address else b"", content_type=content_type(address))


def content_type(address: str) -> str:
    return "application/json" if "/api/" in address else "application/x-www-form-urlencoded"


CASES = [(name, method) for name, methods in TABLE.items() for method in methods]


@contextmanager
def undone() -> Iterator[None]:
    """What is asked in here leaves nothing behind: one place serves all cases."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def test_each_role_may_what_the_table_says(place: Place) -> None:
    clients = {letter: signed_in(place.members[letter].user) for letter in ROLES}
    wrong = []
    for name, method in CASES:
        for letter in ROLES:
            with undone():
                address = reverse(name, kwargs=place.arguments(name, letter))
                status = ask(clients[letter], method, address).status_code
            may = status not in (401, 403, 404) and status < 500
            if may != (letter in TABLE[name][method]) or not (may or status == 404):
                wrong.append((method, name, ROLES[letter], status))
    assert wrong == []


def test_an_outsider_and_a_paused_member_find_nothing(place: Place) -> None:
    sam = MembershipFactory(user=UserFactory(username="sam"), role="admin").user  # somebody, elsewhere
    gone = MembershipFactory(project=place.project, user=UserFactory(username="gone"), role="admin", is_active=False)
    clients = {user.username: signed_in(user) for user in (sam, gone.user)}
    wrong = []
    for name, method in CASES:
        address = reverse(name, kwargs=place.arguments(name, "a"))
        for username, client in clients.items():
            with undone():
                status = ask(client, method, address).status_code
            if status != 404:
                wrong.append((method, name, username, status))
    assert wrong == []


def test_nobody_is_asked_to_sign_in(place: Place) -> None:
    wrong = []
    for name, method in CASES:
        address = reverse(name, kwargs=place.arguments(name, "a"))
        answer = ask(Client(), method, address)
        to_sign_in = answer.status_code == 302 and answer["Location"].startswith(reverse("frontend:sign_in"))
        if not (answer.status_code == 401 if "/api/" in address else to_sign_in):
            wrong.append((method, name, answer.status_code))
    assert wrong == []


def test_a_row_of_another_project_is_not_here(place: Place) -> None:
    """Ids do not travel: an admin who puts another project's id into their own project's address finds nothing."""
    there = make_place("there")
    ada = signed_in(place.members["a"].user)
    wrong = []
    for name, method in CASES:
        if not any(key == "id" or key.endswith("_id") for key in PATTERNS[name]):
            continue
        with undone():
            address = reverse(name, kwargs={**there.arguments(name, "a"), "slug": place.project.slug})
            status = ask(ada, method, address).status_code
        if status != 404:
            wrong.append((method, name, status))
    assert wrong == []


def test_a_token_opens_its_own_project_within_its_scopes(place: Place) -> None:
    there = make_place("there")
    _token, secret = token_create(
        membership=place.members["a"], name="reads", scopes=["read"], days=1, by=place.members["a"].user
    )
    header = {"HTTP_AUTHORIZATION": f"Bearer {secret}"}
    assert Client().get(reverse("training:runs", args=["here"]), **header).status_code == 200
    assert Client().post(reverse("training:runs", args=["here"]), **header).status_code == 403
    MembershipFactory(project=there.project, user=place.members["a"].user, role="admin")
    assert Client().get(reverse("training:runs", args=["there"]), **header).status_code == 404
    assert Client().get(reverse("training:runs", args=["here"]), HTTP_AUTHORIZATION="Bearer no").status_code == 401


def test_the_api_is_closed_to_nobody(place: Place) -> None:
    for name in ("schema", "swagger", "annotation:projects"):
        assert ask(Client(), "GET", reverse(name)).status_code in (401, 403), name
        assert ask(signed_in(place.members["l"].user), "GET", reverse(name)).status_code == 200, name


def test_projects_lists_ones_own(place: Place) -> None:
    make_place("there")
    answer = ask(signed_in(place.members["l"].user), "GET", reverse("annotation:projects"))
    assert [(row["slug"], row["role"]) for row in answer.json()["results"]] == [("here", "labeler")]


def test_no_address_is_missing_from_the_table() -> None:
    names = set(PATTERNS)
    assert names - set(TABLE) - set(ELSEWHERE) == set(), "add the new address to PAGES or API, with who may"
    assert set(TABLE) | set(ELSEWHERE) == names, "the table names an address that is gone"
