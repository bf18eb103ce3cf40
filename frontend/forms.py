"""Forms of the accounts pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.utils.translation import gettext_lazy as _

from annotation.models.accounts import Theme, User


class SignInForm(AuthenticationForm):
    error_messages = {
        "invalid_login": _("That name and password do not belong together. Check both, or ask for a sign-in link."),
        "inactive": _("This account has been switched off. An admin can switch it on again."),
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = _("User name")


class ProfileForm(forms.ModelForm):
    first_name = forms.CharField(label=_("Your name"), max_length=150, required=False)
    language = forms.ChoiceField(label=_("Language"), required=False)
    theme = forms.ChoiceField(label=_("Theme"), choices=Theme.choices)

    class Meta:
        model = User
        fields = ["first_name", "language", "theme"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        language = self.fields["language"]
        assert isinstance(language, forms.ChoiceField)
        language.choices = [("", _("As my browser asks")), *settings.LANGUAGES]
