"""What labelers and leads say to each other, over HTTP: questions on tasks, comments on labels."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response as ApiResponse

from annotation.access import NOTHING_HERE, assignment_for
from annotation.api_base import PROBLEMS, Pages, ProjectView, Scope, actor
from annotation.models import Assignment, LabelComment, Question, QuestionState
from annotation.models.feedback import MAX_MESSAGE
from annotation.roles import Capability
from annotation.selectors.feedback import assignment_in, feedback_of, questions_in
from annotation.selectors.labels import assignment_of_label
from annotation.services.feedback import label_comment, question_answer, question_ask, question_resolve


class MessageShape(serializers.Serializer):
    by = serializers.SerializerMethodField(help_text="labeler or lead")
    body = serializers.CharField(help_text="Markdown")
    created_at = serializers.DateTimeField()

    def get_by(self, message: Any) -> str:
        return "labeler" if message.by_labeler else "lead"


class OwnQuestionShape(serializers.ModelSerializer):
    """A thread as its labeler sees it."""

    messages = MessageShape(many=True)

    class Meta:
        model = Question
        fields = ["id", "state", "messages"]


class QuestionShape(OwnQuestionShape):
    """A thread as leads see it: the labeler under a pseudonym."""

    labeler = serializers.CharField(source="assignment.labeler.pseudonym")
    task = serializers.UUIDField(source="assignment.task_id")
    prompt = serializers.JSONField(source="assignment.task.prompt.messages")

    class Meta:
        model = Question
        fields = ["id", "state", "asked_at", "labeler", "task", "prompt", "messages"]


class CommentShape(serializers.ModelSerializer):
    class Meta:
        model = LabelComment
        fields = ["id", "revision", "body", "returns", "created_at", "closed_at"]


class BodyShape(serializers.Serializer):
    body = serializers.CharField(max_length=MAX_MESSAGE, trim_whitespace=False, help_text="Markdown")


class CommentAsk(BodyShape):
    returns = serializers.BooleanField(default=False, help_text="Give the label back to its labeler to be edited")


class FeedbackShape(serializers.Serializer):
    returned = serializers.BooleanField(help_text="The label waits for a revision by you")
    comments = CommentShape(many=True)
    question = OwnQuestionShape(allow_null=True)


class OwnFeedback(ProjectView):
    allowed = {"GET": (Capability.LABEL, Scope.LABEL)}

    @extend_schema(responses={200: FeedbackShape, **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """What was said about your task: a reviewer's comments, and the thread of your question."""
        assignment = own(request, slug, id)
        found = feedback_of(assignment)
        shown = {"returned": found.returned is not None, "comments": found.comments, "question": found.question}
        return ApiResponse(FeedbackShape(shown).data)


class Ask(ProjectView):
    allowed = {"POST": (Capability.LABEL, Scope.LABEL)}

    @extend_schema(request=BodyShape, responses={201: OwnQuestionShape, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Ask the leads about your task, or say more in its thread, which is open again then."""
        assignment = own(request, slug, id)
        question = question_ask(assignment=assignment, body=said(request)["body"], by=actor(request))
        return ApiResponse(OwnQuestionShape(question).data, status=status.HTTP_201_CREATED)


def own(request: Request, slug: str, id: UUID) -> Assignment:
    return assignment_for(request.user, slug, id)[1]


def said(request: Request, shape: type[serializers.Serializer] = BodyShape) -> dict[str, Any]:
    asked = shape(data=request.data)
    asked.is_valid(raise_exception=True)
    return dict(asked.validated_data)


class Questions(ProjectView, ListAPIView):
    """Questions by labelers, oldest first."""

    allowed = {"GET": (Capability.REVIEW, Scope.READ)}
    serializer_class = QuestionShape
    pagination_class = Pages

    def get_queryset(self) -> QuerySet[Question]:
        state = self.request.query_params.get("state", "")
        return questions_in(self.access.project, state=state if state in QuestionState.values else "")

    @extend_schema(
        parameters=[OpenApiParameter("state", enum=QuestionState.values)],
        responses={200: QuestionShape(many=True), **PROBLEMS},
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> ApiResponse:
        return self.list(request, *args, **kwargs)


class QuestionView(ProjectView):
    def question(self, id: UUID) -> Question:
        found = questions_in(self.access.project).filter(pk=id).first()
        if found is None:
            raise Http404(NOTHING_HERE)
        return found


class QuestionDetail(QuestionView):
    allowed = {"GET": (Capability.REVIEW, Scope.READ)}

    @extend_schema(responses={200: QuestionShape, **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """One thread."""
        return ApiResponse(QuestionShape(self.question(id)).data)


class QuestionAnswer(QuestionView):
    allowed = {"POST": (Capability.REVIEW, Scope.REVIEW)}

    @extend_schema(request=BodyShape, responses={201: QuestionShape, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Answer a labeler."""
        question_answer(question=self.question(id), body=said(request)["body"], by=actor(request))
        return ApiResponse(QuestionShape(self.question(id)).data, status=status.HTTP_201_CREATED)


class QuestionResolve(QuestionView):
    allowed = {"POST": (Capability.REVIEW, Scope.REVIEW)}

    @extend_schema(request=None, responses={200: QuestionShape, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Say that the thread needs no answer any more."""
        question_resolve(question=self.question(id), by=actor(request))
        return ApiResponse(QuestionShape(self.question(id)).data)


class Comments(ProjectView):
    allowed = {
        "GET": (Capability.REVIEW, Scope.READ),
        "POST": (Capability.REVIEW, Scope.REVIEW),
    }

    def assignment(self, id: UUID) -> Assignment:
        key = assignment_of_label(self.access.project, id)
        found = assignment_in(self.access.project, key) if key else None
        if found is None:
            raise Http404(NOTHING_HERE)
        return found

    @extend_schema(responses={200: CommentShape(many=True), **PROBLEMS})
    def get(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """What reviewers said of a label, at any of its revisions; `id` is that of one of them."""
        assignment = self.assignment(id)
        return ApiResponse(CommentShape(feedback_of(assignment).comments, many=True).data)

    @extend_schema(request=CommentAsk, responses={201: CommentShape, **PROBLEMS})
    def post(self, request: Request, slug: str, id: UUID) -> ApiResponse:
        """Say something of a label to its labeler; with `returns`, the label goes back to them to be edited."""
        assignment = self.assignment(id)
        comment = label_comment(assignment=assignment, by=actor(request), **said(request, CommentAsk))
        return ApiResponse(CommentShape(comment).data, status=status.HTTP_201_CREATED)
