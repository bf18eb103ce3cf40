"""The forms that labelers fill in: the one in force, all versions, and the one that a task in hand is under."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from annotation.fields import Flag, default_ranking_fields
from annotation.models import Assignment, AssignmentStatus, FormVersion, Project, Ranking, TaskKind
from annotation.ranking_form import FormProblem
from annotation.selectors.rules import rules_of


def form_current(project: Project, kind: str = TaskKind.RANKING) -> FormVersion:
    """The form in force; for a project without one, the default, unsaved."""
    found = FormVersion.objects.filter(project=project, kind=kind).order_by("-version").first()
    return found or default_form(project, kind)


def default_form(project: Project, kind: str) -> FormVersion:
    return FormVersion(project=project, kind=kind, version=0, fields=default_ranking_fields())


def form_versions(project: Project, kind: str = TaskKind.RANKING) -> QuerySet[FormVersion]:
    """All versions, the newest first."""
    return FormVersion.objects.filter(project=project, kind=kind).order_by("-version")


def form_in_hand(assignment: Assignment, version: int | None = None) -> FormVersion:
    """The form that an assignment is worked on under.

    It is the version that the labeler says they were shown. Where they say none: the one that their label was made
    under, or else the one in force when they were given the task. So a form published meanwhile changes nothing for
    them, and what they fill in is held to what they were asked.

    Raises: FormProblem for a version that there never was.
    """
    task = assignment.task
    if task.kind != TaskKind.RANKING:
        return form_of(assignment, None)
    if version is not None:
        return version_of(task.project, task.kind, version)
    if assignment.status != AssignmentStatus.SUBMITTED:  # it has no label
        return form_of(assignment, None)
    label = Ranking.objects.filter(assignment=assignment, is_current=True).select_related("form").first()
    return form_of(assignment, label)


def form_of(assignment: Assignment, label: Ranking | None) -> FormVersion:
    """The form that this label of the assignment was made under; without a label, the one that its work began under."""
    task = assignment.task
    if task.kind != TaskKind.RANKING:  # no other kind has a form that is a project's own
        return default_form(task.project, task.kind)
    if label is not None and label.form is not None:
        return label.form
    versions = [form for form in rules_of(task.project).forms if form.kind == task.kind]
    given = next((form for form in versions if form.created_at <= assignment.assigned_at), None)
    return given or next(reversed(versions), None) or default_form(task.project, task.kind)


def version_of(project: Project, kind: str, version: int) -> FormVersion:
    versions = (form for form in rules_of(project).forms if form.kind == kind)
    found = next((form for form in versions if form.version == version), None)
    if found is None and version == 0:
        return default_form(project, kind)
    if found is None:
        raise FormProblem(_("There is no version %(version)s of this form. Reload the page.") % {"version": version})
    return found


def flags_known(project: Project) -> list[str]:
    """The keys of all flags that this project ever asked, and those that every project may ask."""
    return [key for key, _label in flag_choices(project)]


def flag_choices(project: Project) -> list[tuple[str, str | Promise]]:
    """(key, words) of those flags; the project's own in the words of the latest form that asked them."""
    forms = form_versions(project).order_by("version").values_list("fields", flat=True)
    own = {row["key"]: row["label"] for fields in forms for row in fields.get("own_flags") or []}
    return [*Flag.choices, *((key, own[key]) for key in sorted(own) if key not in Flag.values)]


def flag_words(project: Project) -> dict[str, str]:
    """{key: words} of those flags."""
    return {key: str(words) for key, words in flag_choices(project)}
