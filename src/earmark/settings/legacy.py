"""Translate flags that Transformers or its audio example has dropped.

It works on the words of a command line, before they are parsed. Each flag that is changed or left out adds a note, so
that an old script keeps running and its owner knows what has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from earmark.errors import UsageError

_RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "push_to_hub_model_id": "hub_model_id",
    "push_to_hub_token": "hub_token",
}

_NATIVE = "--fp16 and --bf16 train with torch's own mixed precision, without apex"
_DROPPED = {
    "fp16_opt_level": _NATIVE,
    "fp16_backend": _NATIVE,
    "half_precision_backend": _NATIVE,
    "loss_scale": "torch's GradScaler finds and adapts the scale itself",
    "use_mps_device": "--device finds the accelerator",
    "use_ipex": "Transformers has dropped it",
    "jit_mode_eval": "Transformers has dropped it",
    **dict.fromkeys(
        (
            *("include_inputs_for_metrics", "include_tokens_per_second", "past_index", "ray_scope", "torchdynamo"),
            *("dispatch_batches", "split_batches", "xpu_backend", "tpu_num_cores", "mp_parameters", "sharded_ddp"),
        ),
        "Transformers has dropped it",
    ),
}


# switch -> the flag that replaces it if it is on, and the notes for on and off
_SWITCHES: dict[str, tuple[list[str], str, str]] = {
    "adafactor": (["--optim=adafactor"], "is now --optim adafactor and was read as that", ""),
    "freeze_base_model": (["--freeze=encoder"], "is now --freeze encoder, the feature encoder included", ""),
    "group_by_length": ([], "is not needed: --bucket_waste makes batches of clips of similar length", ""),
    "save_safetensors": (
        [],
        "is not needed: weights are always saved as safetensors",
        "is not possible: weights are always saved as safetensors",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class _Given:
    """One flag of a command line: its name with underscores, its values, and the words as written."""

    name: str
    values: list[str]
    words: list[str]

    @property
    def value(self) -> str:
        return " ".join(self.values)

    def is_true(self) -> bool:
        """Read the value as ``HfArgumentParser`` reads a boolean; a bare flag is true."""
        word = self.value.lower()
        if word in ("", "yes", "true", "t", "y", "1"):
            return True
        if word in ("no", "false", "f", "n", "0"):
            return False
        raise UsageError(f"--{self.name} {self.value}: expected true or false")


# The translation of a flag: current words (none if it is left out), and the line to show (may be empty).
_Translation = tuple[list[str], str]


def translate(tokens: Sequence[str]) -> tuple[list[str], list[str]]:
    """Replace dropped flags by current ones.

    Args:
        tokens: words of a command line without the program's name; ``--flag value`` or ``--flag=value``.

    Returns:
        The words to parse, and one line for each flag that was changed or left out.

    Raises:
        UsageError: a value is unusable, or an old flag contradicts a current one.
    """
    flags = _settle_freeze(_settle_warmup(_group(tokens)))
    given = {flag.name: flag for flag in flags}
    words: list[str] = []
    notes: list[str] = []
    for flag in flags:
        if flag.name not in _TRANSLATORS:
            words += flag.words
            continue
        replacement, note = _TRANSLATORS[flag.name](flag)
        is_last = given[flag.name] is flag
        if replacement != flag.words:
            if not is_last:
                continue
            if replacement and any(one.name == flag.name and one.value != flag.value for one in flags):
                note += "; it is given more than once, and the last value is used"
            for word in replacement:
                _refuse_contradiction(flag, word, given)
        words += replacement
        notes += [note] if note and is_last else []
    return words, notes


def _group(tokens: Sequence[str]) -> list[_Given]:
    """Split a command line into flags with their values; words before the first flag get the name ``""``."""
    flags: list[_Given] = []
    for token in tokens:
        if token.startswith("--") and len(token) > 2:
            name, equals, value = token[2:].partition("=")
            flags.append(_Given(name.replace("-", "_"), [value] if equals else [], [token]))
        elif flags:
            flags[-1].values.append(token)
            flags[-1].words.append(token)
        else:
            flags.append(_Given("", [token], [token]))
    return flags


def _settle_warmup(flags: list[_Given]) -> list[_Given]:
    """Drop ``--warmup_ratio`` or ``--warmup_steps`` if it is 0, which meant "not set" in Transformers 4."""
    both = {"warmup_ratio", "warmup_steps"}
    if not both <= {flag.name for flag in flags}:
        return flags
    kept = [flag for flag in flags if flag.name not in both or _number(flag) != 0]
    left = {flag.name for flag in kept} & both
    if left == both:
        raise UsageError("--warmup_ratio and --warmup_steps contradict each other. Keep one of them.")
    return kept if left else [flag for flag in flags if flag.name != "warmup_ratio"]


def _settle_freeze(flags: list[_Given]) -> list[_Given]:
    """Drop the feature encoder's flags if the whole base model, which contains it, is frozen."""
    if not any(flag.name == "freeze_base_model" and flag.is_true() for flag in flags):
        return flags
    return [flag for flag in flags if _TRANSLATORS.get(flag.name) is not _freeze_feature_encoder]


def _refuse_contradiction(old: _Given, word: str, given: dict[str, _Given]) -> None:
    name, _, value = word[2:].partition("=")
    new = given.get(name)
    if new is not None and name != old.name and (new.value or "true") != value:
        raise UsageError(f"--{old.name} {old.value} and --{name} {new.value} contradict each other. Keep --{name}.")


def _number(flag: _Given) -> float:
    try:
        return float(flag.value)
    except ValueError:
        raise UsageError(f"--{flag.name} {flag.value}: expected a number") from None


def _renamed(flag: _Given) -> _Translation:
    new = _RENAMED[flag.name]
    return [f"--{new}={flag.value or 'true'}"], f"--{flag.name} is now --{new} and was read as that"


def _dropped(flag: _Given) -> _Translation:
    return [], f"{_as_written(flag)} is not used: {_DROPPED[flag.name]}"


def _switch(flag: _Given) -> _Translation:
    words, on, off = _SWITCHES[flag.name]
    note = on if flag.is_true() else off
    return words if flag.is_true() else [], f"{_as_written(flag)} {note}" if note else ""


def _as_written(flag: _Given) -> str:
    return f"--{flag.name} {flag.value}".rstrip()


def _warmup_ratio(flag: _Given) -> _Translation:
    if not 0 <= _number(flag) < 1:
        raise UsageError(f"--warmup_ratio {flag.value}: expected a fraction of all steps, from 0 to below 1")
    steps = f"--warmup_steps {flag.value}"
    return [f"--warmup_steps={flag.value}"], f"--warmup_ratio is now {steps} (below 1: a fraction of all steps)"


def _freeze_feature_encoder(flag: _Given) -> _Translation:
    freeze = flag.is_true() and not flag.name.startswith("no_")
    part = "feature_encoder" if freeze else "none"
    return [f"--freeze={part}"], f"{_as_written(flag)} is now --freeze {part} and was read as that"


def _use_auth_token(flag: _Given) -> _Translation:
    if flag.value.lower() in ("", "true"):
        return [], "--use_auth_token is not needed: the token of `hf auth login` is used automatically"
    if flag.value.lower() == "false":
        return [], "--use_auth_token False is not used: set HF_HUB_DISABLE_IMPLICIT_TOKEN=1 to send no token"
    return [f"--token={flag.value}"], "--use_auth_token is now --token and was read as that"


def _optim(flag: _Given) -> _Translation:
    if flag.value != "adamw_hf":
        return flag.words, ""
    return ["--optim=adamw_torch"], "--optim adamw_hf is now --optim adamw_torch and was read as that"


def _organization(flag: _Given) -> _Translation:
    raise UsageError(
        f"--push_to_hub_organization no longer exists in Transformers. Use --hub_model_id {flag.value}/NAME."
    )


def _overwrite_output_dir(flag: _Given) -> _Translation:
    note = "--overwrite_output_dir: a run that is already in the output folder is replaced, unless --resume is given"
    return flag.words, note if flag.is_true() else ""


def _logging_dir(flag: _Given) -> _Translation:
    return flag.words, f"--logging_dir: TensorBoard events go to {flag.value}, with --report_to tensorboard"


_TRANSLATORS: dict[str, Callable[[_Given], _Translation]] = {
    **dict.fromkeys(_RENAMED, _renamed),
    **dict.fromkeys(_DROPPED, _dropped),
    **dict.fromkeys(_SWITCHES, _switch),
    "freeze_feature_encoder": _freeze_feature_encoder,
    "freeze_feature_extractor": _freeze_feature_encoder,
    "no_freeze_feature_encoder": _freeze_feature_encoder,
    "logging_dir": _logging_dir,
    "optim": _optim,
    "overwrite_output_dir": _overwrite_output_dir,
    "push_to_hub_organization": _organization,
    "use_auth_token": _use_auth_token,
    "warmup_ratio": _warmup_ratio,
}

LEGACY_FLAGS = frozenset(_TRANSLATORS)
