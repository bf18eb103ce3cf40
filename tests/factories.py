"""Rows for tests: valid by default, so that a test names only what it is about."""

from __future__ import annotations

from typing import Any

import factory
from factory.django import DjangoModelFactory

from annotation.conversations import content_hash, text_hash
from annotation.fields import default_ranking_fields
from annotation.models import (
    Assignment,
    FormVersion,
    Guideline,
    Membership,
    Project,
    Prompt,
    Response,
    Task,
    TaskResponse,
    User,
)
from annotation.roles import Role
from annotation.services.tasks import group_key
from training.models import Artifact, Model, Round, Run


class UserFactory(DjangoModelFactory):
    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda number: f"person{number}")

    @factory.post_generation
    def password(self: User, create: bool, extracted: str | None, **kwargs: Any) -> None:
        self.set_password(extracted)
        self.save()


class ProjectFactory(DjangoModelFactory):
    """A project with guidelines and a ranking form, as `project_create` makes it, but without members."""

    class Meta:
        model = Project
        skip_postgeneration_save = True

    name = factory.Sequence(lambda number: f"Project {number}")
    slug = factory.Sequence(lambda number: f"project-{number}")

    @factory.post_generation
    def documents(self: Project, create: bool, extracted: object, **kwargs: Any) -> None:
        Guideline.objects.create(project=self, version=1, body="Be helpful.")
        FormVersion.objects.create(project=self, kind="ranking", version=1, fields=default_ranking_fields())


class MembershipFactory(DjangoModelFactory):
    class Meta:
        model = Membership

    project = factory.SubFactory(ProjectFactory)
    user = factory.SubFactory(UserFactory)
    role = Role.LABELER


class PromptFactory(DjangoModelFactory):
    class Meta:
        model = Prompt
        exclude = ("text",)

    text = factory.Sequence(lambda number: f"What is {number} and {number}?")
    project = factory.SubFactory(ProjectFactory)
    messages = factory.LazyAttribute(lambda prompt: [{"role": "user", "content": prompt.text}])
    source = "labeler"
    content_hash = factory.LazyAttribute(lambda prompt: content_hash(prompt.messages))
    group = factory.LazyAttribute(lambda prompt: prompt.content_hash)
    split = "train"
    pool = "sft"


class ArtifactFactory(DjangoModelFactory):
    class Meta:
        model = Artifact

    kind = "model"
    sha256 = factory.Sequence(lambda number: f"{number:064x}")
    size = 1
    storage_key = factory.LazyAttribute(lambda artifact: f"model/{artifact.sha256}")


class ModelFactory(DjangoModelFactory):
    class Meta:
        model = Model

    project = factory.SubFactory(ProjectFactory)
    kind = "policy"
    name = factory.Sequence(lambda number: f"policy {number}")
    source = "made by a test"
    artifact = factory.SubFactory(ArtifactFactory)


class RunFactory(DjangoModelFactory):
    class Meta:
        model = Run

    project = factory.SubFactory(ProjectFactory)
    stage = "sample"
    name = factory.Sequence(lambda number: f"run {number}")
    config_hash = factory.Sequence(lambda number: f"{number:064x}")


class RoundFactory(DjangoModelFactory):
    class Meta:
        model = Round

    project = factory.SubFactory(ProjectFactory)
    number = factory.Sequence(lambda number: number + 1)


class ResponseFactory(DjangoModelFactory):
    """An answer by a model; `author=` makes it a person's."""

    class Meta:
        model = Response

    class Params:
        human = factory.LazyAttribute(lambda response: response.author is not None)

    author = None
    prompt = factory.SubFactory(PromptFactory)
    project = factory.SelfAttribute("prompt.project")
    text = factory.Sequence(lambda number: f"It is {number}.")
    content_hash = factory.LazyAttribute(lambda response: text_hash(response.text))
    origin = factory.LazyAttribute(lambda response: "human" if response.author else "model")
    model = factory.Maybe("human", None, factory.SubFactory(ModelFactory, project=factory.SelfAttribute("..project")))


class TaskFactory(DjangoModelFactory):
    """A task to write an answer."""

    class Meta:
        model = Task
        skip_postgeneration_save = True

    project = factory.SelfAttribute("prompt.project")
    prompt = factory.SubFactory(PromptFactory)
    category = factory.SelfAttribute("prompt.category")
    language = factory.SelfAttribute("prompt.language")
    kind = "demonstration"
    overlap = 1
    open_slots = factory.SelfAttribute("overlap")


class RankingTaskFactory(TaskFactory):
    """A task to rank four answers; `answers=` gives others, or says how many."""

    kind = "ranking"

    @factory.post_generation
    def answers(self: Task, create: bool, extracted: list[Response] | int | None, **kwargs: Any) -> None:
        answers = extracted
        if not isinstance(answers, list):
            model = ModelFactory(project=self.project)
            answers = ResponseFactory.create_batch(extracted or 4, prompt=self.prompt, model=model)
        TaskResponse.objects.bulk_create(TaskResponse(task=self, response=answer) for answer in answers)
        self.group_key = group_key(answer.pk for answer in answers)
        self.save(update_fields=["group_key"])


def lease(labeler: Membership, kind: str | None = None) -> Assignment:
    """Lease the labeler their next task, which must be there."""
    from annotation.services.queue import assignment_next

    assignment = assignment_next(labeler=labeler, kind=kind)
    assert assignment is not None, "no task for this labeler"
    return assignment
