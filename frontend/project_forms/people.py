"""Forms of the people page."""

from __future__ import annotations

from django import forms
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.utils.translation import gettext_lazy as _

from annotation.models import User
from annotation.roles import Role


class MemberForm(forms.Form):
    """Someone to bring in: an account that is there already, or a new one with a sign-in link."""

    EXISTING, NEW = "existing", "new"

    account = forms.ChoiceField(
        label=_("Account"),
        choices=[(EXISTING, _("They have an account here")), (NEW, _("Make an account and a one-time sign-in link"))],
        widget=forms.RadioSelect,
        initial=EXISTING,
    )
    username = forms.CharField(label=_("User name"), max_length=150, validators=[UnicodeUsernameValidator()])
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.LABELER)

    def clean(self) -> dict[str, object]:
        cleaned: dict[str, object] = super().clean() or {}
        username, account = cleaned.get("username"), cleaned.get("account")
        if not username or not account:
            return cleaned
        user = User.objects.filter(username__iexact=username).first()
        if account == self.EXISTING and user is None:
            self.add_error("username", _("There is no account of this name. Check the spelling, or make an account."))
        if account == self.NEW and user is not None:
            self.add_error("username", _("This name is taken. Choose another, or add that account."))
        return cleaned | {"user": user}


class RoleForm(forms.Form):
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices)
