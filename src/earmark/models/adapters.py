"""Train LoRA adapters with peft: low-rank products added to frozen linear layers.

The layers of the model are replaced in place, so that all code that calls them, including earmark's forward, uses the
adapters. Merging adds the adapters to the layers and gives a plain model; saving them separately gives a folder in
peft's format.

Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from earmark.errors import ModelError, first_line
from earmark.extras import require
from earmark.models.freeze import encoder_layers, find_body, head_parameters
from earmark.text import with_article

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from earmark.families.family import Family
    from earmark.models.build_model import AudioModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ALL_LINEAR = "all-linear"
_NAME = "default"  # peft's name for a single adapter
_OF_BASE = "base_fingerprint"  # a key in the metadata of the weights file; peft ignores it
_SAMPLED = 1024  # at least this many values of a large tensor enter a fingerprint
_PREFIX = "base_model.model."  # prefix of the names of weights in peft's files
_ADVICE = "Train the whole model, or a part with --freeze."


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter and not a whole model."""
    return (folder / CONFIG).is_file() and not list(folder.glob("model*.safetensors"))


def attach(audio: AudioModel, rank: int, alpha: float, targets: str | None = None) -> list[str]:
    """Add adapters to a classifier, and freeze everything except them and the head.

    Args:
        audio: classifier; its model is changed in place, with the same predictions.
        rank: rank of the low-rank products.
        alpha: each product is scaled by ``alpha / rank``.
        targets: names of linear layers separated by commas, ``"all-linear"``, or ``None`` for the attention's queries
            and values.

    Returns:
        The last parts of the names of the adapted layers, such as ``q_proj``.

    Raises:
        ModelError: no layer can be adapted, or no layer has a given name.
        MissingExtraError: peft is not installed.
    """
    peft = require("peft")
    model, family = audio.model, audio.family
    if reason := family.check_adapters(model):
        raise ModelError(f"--lora: {reason}. {_ADVICE}")
    layers = _chosen_layers(audio, targets)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers, lora_dropout=0.0, bias="none")
    head = head_parameters(model, family)
    _inject(model, config)
    for name in head:
        model.get_parameter(name).requires_grad_(True)
    return sorted({name.rpartition(".")[2] for name in layers})


def merge(model: PreTrainedModel) -> None:
    """Merge the adapters into their layers, which leaves plain layers and the same predictions."""
    layer_class = require("peft").tuners.tuners_utils.BaseTunerLayer
    for name, module in list(model.named_modules()):
        if isinstance(module, layer_class):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    del model.peft_config


def save(audio: AudioModel, folder: Path, base: str, revision: str | None) -> None:
    """Write adapters and head in peft's format, which ``peft.PeftModel.from_pretrained`` reads with the base model.

    Args:
        audio: classifier with adapters.
        folder: folder for ``adapter_config.json`` and ``adapter_model.safetensors``.
        base: folder or hub name of the base model.
        revision: revision of the base model on the hub.

    Raises:
        OSError, SafetensorError: the files cannot be written.
    """
    model, family = audio.model, audio.family
    head = head_parameters(model, family)
    weights = {
        _PREFIX + name.replace(f".{_NAME}.", "."): weight.detach().cpu().contiguous()
        for name, weight in model.named_parameters()
        if name in head or ".lora_" in name
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt", _OF_BASE: fingerprint_of_body(model, family)})
    config = model.peft_config[_NAME]
    config.base_model_name_or_path, config.revision, config.inference_mode = base, revision, True
    config.modules_to_save = sorted({name.split(".")[0] for name in head})
    config.save_pretrained(folder)


def fingerprint_of_body(model: PreTrainedModel, family: Family) -> str:
    """Return a short text that identifies the weights below the head, with or without adapters."""
    head = head_parameters(model, family)
    digest = hashlib.sha256()
    of_body = {
        name.replace(".base_layer.", "."): weight
        for name, weight in model.named_parameters()
        # A checkpoint may lack weights that only training needs; then they are random.
        if name not in head and ".lora_" not in name and not name.endswith(family.training_only)
    }
    for name, weight in sorted(of_body.items()):
        numbers = weight.detach().flatten()
        sample = numbers[:: max(1, len(numbers) // _SAMPLED)].float().cpu().contiguous()
        digest.update(f"{name} {tuple(weight.shape)}".encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def adapter_base(folder: Path) -> tuple[str, str]:
    """Return the folder or hub name of the base model of an adapter, and its revision.

    Raises:
        ModelError: the adapter does not name its base model, or is not a LoRA adapter.
    """
    config = _config_in(folder)
    if not config.base_model_name_or_path:
        raise ModelError(
            f"{folder / CONFIG}: does not name the base model of the adapter. Add it as base_model_name_or_path."
        )
    return str(config.base_model_name_or_path), str(config.revision or "main")


def load_merged(model: PreTrainedModel, family: Family, folder: Path) -> None:
    """Merge a saved adapter and its head into the base model.

    Args:
        model: base model with a head of the right size; changed in place.
        family: its family.
        folder: folder that :func:`save` wrote.

    Raises:
        ModelError: the adapter cannot be read, or was trained with another model or other weights.
    """
    config = _config_in(folder)
    config.modules_to_save, config.inference_mode = None, False  # the head is loaded below
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            of_base = (file.metadata() or {}).get(_OF_BASE)  # absent in files written by peft
        saved = load_file(folder / WEIGHTS)
        own = fingerprint_of_body(model, family) if of_base else None
        _inject(model, config)
        weights = {_with_adapter_name(name.removeprefix(_PREFIX)): value for name, value in saved.items()}
        wanted = head_parameters(model, family) | {name for name, _ in model.named_parameters() if ".lora_" in name}
        if wanted != weights.keys():
            odd = min(wanted ^ weights.keys())
            raise ModelError(
                f"{folder}: the adapter does not fit the architecture of its base model (at {odd}). Fix "
                f"base_model_name_or_path in {CONFIG}."
            )
        if own != of_base:
            raise ModelError(
                f"{folder}: the weights of {config.base_model_name_or_path} have changed since the adapter was "
                "trained. Restore them, or train again."
            )
        model.load_state_dict(weights, strict=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as exc:
        raise ModelError(
            f"{folder}: the adapter cannot be loaded into its base model ({first_line(exc)}). Train again, or fix "
            f"base_model_name_or_path in {CONFIG}."
        ) from exc
    merge(model)


def _config_in(folder: Path) -> Any:
    peft = require("peft")
    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelError(f"{folder / CONFIG}: cannot be read ({first_line(exc)}). Copy the adapter again.") from exc
    if not isinstance(config, peft.LoraConfig):
        raise ModelError(f"{folder / CONFIG}: this is {with_article(config.peft_type)} adapter. Use a LoRA adapter.")
    return config


def _inject(model: PreTrainedModel, config: PreTrainedConfig) -> None:
    require("peft").inject_adapter_in_model(config, model, adapter_name=_NAME)


def _with_adapter_name(name: str) -> str:
    return re.sub(r"\.(lora_[AB])\.", rf".\1.{_NAME}.", name)


def _chosen_layers(audio: AudioModel, targets: str | None) -> list[str]:
    """Return the full names of the linear layers to adapt."""
    model, family, kind = audio.model, audio.family, audio.architecture
    of_body = _linear_layers(model, find_body(model, family))
    if not of_body:
        raise ModelError(f"--lora: the body of {kind} has no linear layers to adapt. {_ADVICE}")
    if targets is None or targets == ALL_LINEAR:
        in_stack = _linear_layers(model, encoder_layers(model, family))
        by_default = family.queries_and_values
        chosen = [name for name in in_stack if targets or name.rpartition(".")[2] in by_default]
        if not chosen:
            raise ModelError(
                f"--lora: earmark does not know the names of the attention layers of {kind}. Name layers with "
                f"--lora_target_modules: {_kinds(of_body)}."
            )
        return chosen
    wanted = [word.strip() for word in targets.split(",")]
    for word in wanted:
        if not any(_is_called(name, word) for name in of_body):
            raise ModelError(
                f"--lora_target_modules {word}: this {kind} has no linear layer with this name. Use {_kinds(of_body)}, "
                f"or {ALL_LINEAR}."
            )
    return [name for name in of_body if any(_is_called(name, word) for word in wanted)]


def _linear_layers(model: nn.Module, part: nn.Module) -> list[str]:
    inside = {id(module) for module in part.modules()}
    return [name for name, module in model.named_modules() if type(module) is nn.Linear and id(module) in inside]


def _is_called(name: str, word: str) -> bool:
    return bool(word) and (name == word or name.endswith(f".{word}"))


def _kinds(names: Sequence[str]) -> str:
    return ", ".join(sorted({name.rpartition(".")[2] for name in names}))
