"""Forms of invitations: making one, and coming in by one."""

from __future__ import annotations

from django import forms
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.utils.translation import gettext_lazy as _

from annotation.roles import Role
from annotation.services.invitations import INVITED_ROLES, MAX_DAYS, MAX_USES


class InvitationForm(forms.Form):
    """A link for one person or for many."""

    role = forms.ChoiceField(
        label=_("Role"), choices=[(role, Role(role).label) for role in INVITED_ROLES], initial=Role.LABELER
    )
    max_uses = forms.IntegerField(label=_("For how many people"), min_value=1, max_value=MAX_USES, initial=1)
    days = forms.IntegerField(label=_("Holds for days"), min_value=1, max_value=MAX_DAYS, initial=7)
    note = forms.CharField(
        label=_("Note"), required=False, max_length=120, help_text=_("For whom it is; only admins see it.")
    )


class JoinForm(forms.Form):
    """An account of one's own."""

    username = forms.CharField(
        label=_("User name"),
        max_length=150,
        validators=[UnicodeUsernameValidator()],
        widget=forms.TextInput(attrs={"autocomplete": "username"}),
        help_text=_("Labels carry a pseudonym, never this name."),
    )
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        max_length=1024,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("At least 10 characters; a few words do well."),
    )
