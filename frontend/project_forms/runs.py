"""The form that launches a run: drawn from the stage's settings as the core describes them, checked by the core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.forms.boundfield import BoundField
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from frontend.setting_words import help_of, label_of
from training.errors import config_words
from training.models import Model, Snapshot
from training.rlhf.config import ConfigError, config_from_dict, schema
from training.services.loop import InputChoice

ESSENTIALS: dict[str, tuple[str, ...]] = {
    "pretrain": (
        "hidden_size",
        "layers",
        "heads",
        "context_length",
        "vocab_size",
        "batch_size",
        "learning_rate",
        "epochs",
    ),
    "sft": ("learning_rate", "batch_size", "epochs", "publish"),
    "reward": ("learning_rate", "batch_size", "epochs", "loss", "ties"),
    "ppo": (
        "total_updates",
        "rollouts_per_update",
        "minibatch_size",
        "learning_rate",
        "kl_coef",
        "max_new_tokens",
        "temperature",
    ),
    "dpo": ("learning_rate", "batch_size", "epochs", "kl_coef", "loss", "ties"),
    "rloo": (
        "total_updates",
        "prompts_per_update",
        "samples_per_prompt",
        "learning_rate",
        "kl_coef",
        "max_new_tokens",
        "temperature",
    ),
    "sample": ("samples_per_prompt", "temperature", "top_p", "max_new_tokens"),
    "evaluate": ("samples_per_prompt", "max_new_tokens", "temperature"),
}
DECIDED_BY_PROJECT = frozenset({"samples_per_prompt"})
SETTING, INPUT = "setting-", "input-"


class LaunchForm(forms.Form):
    """One field for each input and for each setting of the stage; `launch_arguments` is what it comes to."""

    name = forms.CharField(
        label=gettext_lazy("Name"), max_length=120, required=False, help_text=gettext_lazy("Left empty, it gets one.")
    )
    seed = forms.IntegerField(
        label=gettext_lazy("Seed"),
        min_value=0,
        max_value=2**31 - 1,
        initial=0,
        help_text=gettext_lazy("The same inputs, settings and seed give the same weights on the same machine."),
    )

    def __init__(
        self, *args: Any, stage: str, choices: Sequence[InputChoice], values: Mapping[str, Any], **kwargs: Any
    ) -> None:
        """`values` are the settings to begin with, over the core's defaults."""
        super().__init__(*args, **kwargs)
        self.stage, self.choices = stage, choices
        self.settings = {item["name"]: item for item in schema(stage)}
        for choice in choices:
            self.fields[INPUT + choice.name] = input_field(stage, choice)
        if stage == "sample":
            self.fields["prompts"] = prompts_field()
            self.fields["make_tasks"] = tasks_field()
        for name, item in self.settings.items():
            self.fields[SETTING + name] = setting_field(item, values.get(name, item["default"]))

    def input_fields(self) -> list[BoundField]:
        return [self[INPUT + choice.name] for choice in self.choices]

    def essential_fields(self) -> list[BoundField]:
        return [self[SETTING + name] for name in ESSENTIALS[self.stage]]

    def more_fields(self) -> list[BoundField]:
        return [self[SETTING + name] for name in self.settings if name not in ESSENTIALS[self.stage]]

    def has_hidden_errors(self) -> bool:
        """Whether a field that is folded away is wrong, so that the page unfolds it."""
        return any(field.errors for field in [*self.more_fields(), self["seed"]])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not any(name.startswith(SETTING) for name in self.errors):
            try:
                config_from_dict(self.stage, self.config())
            except ConfigError as problem:
                self._add_config_error(problem)
        return cleaned

    def _add_config_error(self, problem: ConfigError) -> None:
        """Show the core's sentence at the field that it is about, if it is about one."""
        name = problem.names.get("name")
        self.add_error(f"{SETTING}{name}" if name in self.settings else None, config_words(problem))

    def config(self) -> dict[str, Any]:
        """The settings that differ from the core's defaults, and those that the project would decide otherwise."""
        chosen = {name: self.cleaned_data.get(SETTING + name) for name in self.settings}
        return {
            name: value
            for name, value in chosen.items()
            if value is not None and (value != self.settings[name]["default"] or name in DECIDED_BY_PROJECT)
        }

    def inputs(self) -> dict[str, Model | Snapshot]:
        """The inputs that were named; the others take what the launch finds."""
        chosen: dict[str, Model | Snapshot] = {}
        for choice in self.choices:
            for option in choice.options:
                if str(option.pk) == self.cleaned_data.get(INPUT + choice.name):
                    chosen[choice.name] = option
        return chosen

    def launch_arguments(self) -> dict[str, Any]:
        arguments = {
            "stage": self.stage,
            "config": self.config(),
            "inputs": self.inputs(),
            "name": self.cleaned_data["name"],
            "seed": self.cleaned_data["seed"],
        }
        if self.stage == "sample":
            arguments |= {name: self.cleaned_data[name] for name in ("prompts", "make_tasks")}
        return arguments


INPUT_LABELS = {
    ("sample", "policy"): gettext_lazy("Policy that answers"),
    ("evaluate", "policy"): gettext_lazy("Policy to measure"),
    ("evaluate", "reward_model"): gettext_lazy("Reward model to measure"),
}
FRESH_WORDS = {
    "prompts": gettext_lazy("prompts it has not answered"),
    "train": gettext_lazy("everything there is now"),
    "demonstrations": gettext_lazy("all demonstrations, if any"),
}


def input_field(stage: str, choice: InputChoice) -> forms.ChoiceField:
    """A select of what may go in; left at its first line, the launch freezes a new snapshot where it can."""
    options = [(str(option.pk), option_label(option)) for option in choice.options]
    if choice.fresh:
        options.insert(0, ("", str(FRESH_WORDS[choice.name])))
    elif not choice.required:
        options.insert(0, ("", _("none")))
    initial = str(choice.default.pk) if choice.default else ""
    return forms.ChoiceField(
        label=str(INPUT_LABELS.get((stage, choice.name), choice.label)),
        choices=options,
        required=choice.required and not choice.fresh,
        initial=initial,
    )


def option_label(option: Model | Snapshot) -> str:
    if isinstance(option, Model):
        return option.name
    rows = sum(count for count in option.counts.values() if isinstance(count, int))
    return _("%(name)s (%(rows)s rows)") % {"name": option.name, "rows": rows}


def prompts_field() -> forms.IntegerField:
    return forms.IntegerField(
        label=_("At most so many prompts"),
        min_value=0,
        max_value=1_000_000,
        initial=0,
        help_text=_("0 takes all."),
    )


def tasks_field() -> forms.BooleanField:
    return forms.BooleanField(
        label=_("Put the answers into the queue to be ranked"),
        required=False,
        initial=True,
        help_text=_("A ranking task for each prompt, as soon as its answers are there."),
    )


def setting_field(item: Mapping[str, Any], initial: Any) -> forms.Field:
    """A form field for one setting of the core."""
    common = {"label": label_of(item["name"]), "help_text": help_of(item["help"]), "initial": initial}
    if "choices" in item:
        return forms.ChoiceField(choices=[(value, value) for value in item["choices"]], **common)
    if item["type"] == "bool":
        return forms.BooleanField(required=False, **common)
    if item["type"] == "str":
        return forms.CharField(required=False, max_length=2000, **common)
    limits = {"min": item.get("minimum", item.get("above")), "max": item.get("maximum")}
    attributes = {name: limit for name, limit in limits.items() if limit is not None}
    if item["type"] == "int":
        return forms.IntegerField(widget=forms.NumberInput(attrs=attributes), **common)
    return forms.FloatField(widget=forms.NumberInput(attrs=attributes | {"step": "any"}), **common)
