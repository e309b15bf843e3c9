"""Translate flags that Transformers or its audio example has dropped.

Values are texts, from a command line or a file. Each flag that is changed or left out adds a note, so that an old
script keeps running and its owner learns what has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from earmark.errors import UsageError
from earmark.settings.flags import Flag, Scope
from earmark.settings.kinds import Kind, is_true

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
    **dict.fromkeys(
        (
            *("include_inputs_for_metrics", "include_tokens_per_second", "past_index", "ray_scope", "torchdynamo"),
            *("dispatch_batches", "split_batches", "xpu_backend", "tpu_num_cores", "mp_parameters", "sharded_ddp"),
            *("use_ipex", "jit_mode_eval"),
        ),
        "Transformers has dropped it",
    ),
}


# switch -> flag that replaces it if it is on, note if it is on, note if it is off
_SWITCHES: dict[str, tuple[tuple[str, str] | None, str, str]] = {
    "adafactor": (("optim", "adafactor"), "is read as --optim adafactor", ""),
    "freeze_base_model": (("freeze", "encoder"), "is read as --freeze encoder, which includes the feature encoder", ""),
    "group_by_length": (None, "is not needed: --bucket_waste makes batches of clips of similar length", ""),
    "save_safetensors": (
        None,
        "is not needed: weights are always saved as safetensors",
        "is not possible: weights are always saved as safetensors",
    ),
}  # fmt: skip


# The current flag with its value, None if the old flag is left out; and the line to show, which may be empty.
_Translation = tuple[tuple[str, str] | None, str]


def translate(given: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[str]], list[str]]:
    """Replace dropped flags by current ones.

    Args:
        given: the words after each flag, by its name with underscores; a bare switch has ``true``.

    Returns:
        The words after each current flag, and one line for each flag that was changed or left out.

    Raises:
        UsageError: a value is invalid, or an old flag contradicts a current one.
    """
    words = {name: list(values) for name, values in given.items()}
    _settle_warmup(words)
    _settle_freeze(words)
    current = {name: values for name, values in words.items() if name not in _TRANSLATORS}
    notes: list[str] = []
    for name, values in words.items():
        if name not in _TRANSLATORS:
            continue
        value = " ".join(values)
        replacement, note = _TRANSLATORS[name](name, value)
        if replacement is not None:
            new, new_value = replacement
            known = current.setdefault(new, [new_value])
            if known != [new_value]:  # the message has no values, because some are tokens
                raise UsageError(f"--{name} and --{new} contradict each other. Keep --{new}.")
        notes += [note] if note else []
    return current, notes


def _settle_warmup(words: dict[str, list[str]]) -> None:
    """Drop ``--warmup_ratio`` or ``--warmup_steps`` if it is 0, which meant "not set" in Transformers 4."""
    both = ("warmup_ratio", "warmup_steps")
    if not all(name in words for name in both):
        return
    unset = [name for name in both if _number(name, " ".join(words[name])) == 0]
    if not unset:
        raise UsageError("--warmup_ratio and --warmup_steps contradict each other. Keep one of them.")
    del words[unset[0]]


def _settle_freeze(words: dict[str, list[str]]) -> None:
    """Drop the feature encoder's flags if the whole base model, which contains it, is frozen."""
    if "freeze_base_model" in words and _is_true("freeze_base_model", " ".join(words["freeze_base_model"])):
        for name in _FEATURE_ENCODER_FLAGS:
            words.pop(name, None)


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UsageError(f"--{name} {value}: expected a number") from None


def _is_true(name: str, value: str) -> bool:
    try:
        return is_true(value)
    except ValueError as exc:
        raise UsageError(f"--{name} {value}: expected {exc}") from None


def _as_written(name: str, value: str) -> str:
    return f"--{name}" if value == "true" else f"--{name} {value}"


def _renamed(name: str, value: str) -> _Translation:
    new = _RENAMED[name]
    return (new, value), f"--{name} is read as --{new}"


def _dropped(name: str, value: str) -> _Translation:
    return None, f"{_as_written(name, value)} is not used: {_DROPPED[name]}"


def _switch(name: str, value: str) -> _Translation:
    replacement, on, off = _SWITCHES[name]
    is_on = _is_true(name, value)
    note = on if is_on else off
    return replacement if is_on else None, f"{_as_written(name, value)} {note}" if note else ""


def _warmup_ratio(name: str, value: str) -> _Translation:
    if not 0 <= _number(name, value) < 1:
        raise UsageError(f"--{name} {value}: expected a fraction of all steps, from 0 to below 1")
    return ("warmup_steps", value), f"--{name} is read as --warmup_steps {value} (below 1: a fraction of all steps)"


def _freeze_feature_encoder(name: str, value: str) -> _Translation:
    freeze = _is_true(name, value) and not name.startswith("no_")
    part = "feature_encoder" if freeze else "none"
    return ("freeze", part), f"{_as_written(name, value)} is read as --freeze {part}"


def _use_auth_token(_name: str, value: str) -> _Translation:
    if value.lower() in ("", "true"):
        return None, "--use_auth_token is not needed: the token of `hf auth login` is used automatically"
    if value.lower() == "false":
        return None, "--use_auth_token False is not used: set HF_HUB_DISABLE_IMPLICIT_TOKEN=1 to send no token"
    return ("token", value), "--use_auth_token is read as --token"


def _optim(name: str, value: str) -> _Translation:
    if value != "adamw_hf":
        return (name, value), ""
    return (name, "adamw_torch"), "--optim adamw_hf is read as --optim adamw_torch"


def _organization(_name: str, value: str) -> _Translation:
    raise UsageError(f"--push_to_hub_organization no longer exists in Transformers. Use --hub_model_id {value}/NAME.")


def _overwrite_output_dir(name: str, value: str) -> _Translation:
    note = f"--{name}: a run that is already in the output folder is replaced, unless --resume is given"
    return (name, value), note if _is_true(name, value) else ""


def _logging_dir(name: str, value: str) -> _Translation:
    return (name, value), f"--{name}: TensorBoard events go to {value}, with --report_to tensorboard"


_FEATURE_ENCODER_FLAGS = ("freeze_feature_encoder", "freeze_feature_extractor", "no_freeze_feature_encoder")
_TRANSLATORS: dict[str, Callable[[str, str], _Translation]] = {
    **dict.fromkeys(_RENAMED, _renamed),
    **dict.fromkeys(_DROPPED, _dropped),
    **dict.fromkeys(_SWITCHES, _switch),
    **dict.fromkeys(_FEATURE_ENCODER_FLAGS, _freeze_feature_encoder),
    "logging_dir": _logging_dir,
    "optim": _optim,
    "overwrite_output_dir": _overwrite_output_dir,
    "push_to_hub_organization": _organization,
    "use_auth_token": _use_auth_token,
    "warmup_ratio": _warmup_ratio,
}

# Their values stay text until they are translated, and some are tokens.
LEGACY_FLAGS = {
    name: Flag(name, Kind(str, optional=True, or_bool=True), None, "", scope=Scope.SECRET) for name in _TRANSLATORS
}
