"""The cast and the stage of the page tests: alice and bob label, rita leads, ada runs the project, rob researches,
sam is a stranger; a project with prompts to write for and answers to rank."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from annotation.models import Membership, Project, Prompt, Response, User
from annotation.services.accounts import member_add, project_create, user_create
from annotation.services.prompts import PromptRow, prompts_add
from annotation.services.tasks import demonstration_tasks_create, ranking_tasks_create

PASSWORD = "correct horse battery"
PROMPTS = [
    "Write two sentences about the tide.",
    "用一句话介绍潮汐。",
    "Explain to a child why the sky is blue.",
]
RANKED = ["Name three rivers of Europe.", "What is 12 times 12? Show the steps."]
ANSWERS = [
    "The **Danube**, the *Rhine* and the Loire.",
    "Danube, Rhine, and I think the Nile, which flows through Europe as far as I know.",
    "Rivers are nice.\n\n- Danube\n- Rhine\n- Elbe\n\nThey are all long, "
    + "and much could be said of each of them. " * 12,
    "欧洲的三条河流：多瑙河、莱茵河和卢瓦尔河。",
]
GROUPS = 2


@dataclass
class Scene:
    project: Project
    alice: User
    bob: User
    rita: User
    ada: User
    rob: User
    sam: User

    def member(self, user: User) -> Membership:
        return Membership.objects.get(project=self.project, user=user)


def make_scene(*, demonstrations: int = len(PROMPTS), rankings: int = GROUPS, name: str = "Tides") -> Scene:
    people = {
        who: user_create(username=who, password=PASSWORD) for who in ("alice", "bob", "rita", "ada", "rob", "sam")
    }
    project = project_create(name=name, by=people["ada"], description="Short answers about the world.")
    for who, role in (("alice", "labeler"), ("bob", "labeler"), ("rita", "reviewer"), ("rob", "researcher")):
        member_add(project=project, user=people[who], role=role, by=people["ada"])
    scene = Scene(project=project, **people)
    if demonstrations:
        add_demonstration_tasks(scene, PROMPTS[:demonstrations])
    if rankings:
        add_ranking_tasks(scene, RANKED[:rankings])
    return scene


def add_prompts(scene: Scene, texts: list[str], pool: str) -> list[Prompt]:
    rows = [PromptRow(messages=[{"role": "user", "content": text}]) for text in texts]
    report = prompts_add(project=scene.project, rows=rows, pool=pool, source="labeler", by=scene.ada)
    return list(Prompt.objects.filter(id__in=report.prompt_ids))


def add_demonstration_tasks(scene: Scene, texts: list[str]) -> None:
    demonstration_tasks_create(project=scene.project, prompts=add_prompts(scene, texts, "sft"), by=scene.ada)


def add_ranking_tasks(scene: Scene, texts: list[str]) -> None:
    groups = [[make_response(prompt, text) for text in ANSWERS] for prompt in add_prompts(scene, texts, "rm")]
    ranking_tasks_create(project=scene.project, groups=groups, by=scene.ada)


def make_response(prompt: Prompt, text: str) -> Response:
    digest = sha256(text.encode()).hexdigest()
    return Response.objects.create(
        project=prompt.project,
        prompt=prompt,
        text=text,
        content_hash=digest,
        origin="imported",
        imported_author="judge-17",
    )
