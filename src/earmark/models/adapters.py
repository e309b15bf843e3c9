"""LoRA adapters, through peft: low-rank products beside linear layers, which learn while the layers stay.

The layers of the model are replaced where they stand, so that whatever calls them, this project's own forward among it,
takes the adapters along. Merged, the adapters are gone and the model is a plain one; saved apart, they are a folder as
peft writes it.

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
from earmark.families.family_registry import find_family
from earmark.models.freeze import encoder_layers, find_body, head_parameters

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ALL_LINEAR = "all-linear"
_NAME = "default"  # peft's, of an adapter that is alone
_OF_BASE = "base_fingerprint"  # in the metadata of the weights, where peft passes it over
_SAMPLED = 1024  # numbers of each tensor that a fingerprint is made of
_PREFIX = "base_model.model."  # of weights in peft's files
_HOW_TO_DO_WITHOUT = "train all of it, or a part with --freeze"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no whole model."""
    return (folder / CONFIG).is_file() and not list(folder.glob("model*.safetensors"))


def attach(model: PreTrainedModel, rank: int, alpha: float, targets: str | None = None) -> list[str]:
    """Put adapters into a classifier. They and the head learn, nothing else.

    Args:
        model: with this project's forward installed; changed in place, its answers stay the same.
        rank: of the products.
        alpha: they are scaled by ``alpha / rank``.
        targets: names of linear layers with commas between, ``"all-linear"``, or ``None`` for the attention's queries
            and values.

    Returns:
        The names of the kinds of layers that were adapted.

    Raises:
        ModelError: nothing can be adapted, or a name that no layer has.
        MissingExtraError: peft is not installed.
    """
    peft = require("peft")
    if reason := find_family(model.config).check_adapters(model):
        raise ModelError(f"--lora: {reason}; {_HOW_TO_DO_WITHOUT}")
    layers = _chosen_layers(model, targets)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers, lora_dropout=0.0, bias="none")
    head = head_parameters(model)
    _inject(model, config)
    for name in head:
        model.get_parameter(name).requires_grad_(True)
    return sorted({name.rpartition(".")[2] for name in layers})


def merge(model: PreTrainedModel) -> None:
    """Add the adapters to the layers that they stand beside, and leave plain layers; answers stay the same."""
    layer_class = require("peft").tuners.tuners_utils.BaseTunerLayer
    for name, module in list(model.named_modules()):
        if isinstance(module, layer_class):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    del model.peft_config


def save(model: PreTrainedModel, folder: Path, base: str, revision: str | None) -> None:
    """Write adapters and head as peft does, readable by ``peft.PeftModel.from_pretrained`` with the base model.

    Args:
        model: with adapters.
        folder: gets ``adapter_config.json`` and ``adapter_model.safetensors``.
        base: folder or hub name of the weights that they belong to.
        revision: of these on the hub.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    head = head_parameters(model)
    weights = {
        _PREFIX + name.replace(f".{_NAME}.", "."): weight.detach().cpu().contiguous()
        for name, weight in model.named_parameters()
        if name in head or ".lora_" in name
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt", _OF_BASE: fingerprint_of_body(model)})
    config = model.peft_config[_NAME]
    config.base_model_name_or_path, config.revision, config.inference_mode = base, revision, True
    config.modules_to_save = sorted({name.split(".")[0] for name in head})
    config.save_pretrained(folder)


def fingerprint_of_body(model: PreTrainedModel) -> str:
    """Short text that tells other weights below the head apart, with adapters beside them or without."""
    head = head_parameters(model)
    digest = hashlib.sha256()
    of_body = {
        name.replace(".base_layer.", "."): weight
        for name, weight in model.named_parameters()
        # a checkpoint may lack that one, which only training draws on: it is random then
        if name not in head and ".lora_" not in name and not name.endswith(find_family(model.config).training_only)
    }
    for name, weight in sorted(of_body.items()):
        numbers = weight.detach().flatten()
        sample = numbers[:: max(1, len(numbers) // _SAMPLED)].float().cpu().contiguous()
        digest.update(f"{name} {tuple(weight.shape)}".encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def adapter_base(folder: Path) -> tuple[str, str]:
    """Folder or hub name of the model that an adapter belongs to, and its revision.

    Raises:
        ModelError: the adapter does not tell, or is of another kind than LoRA.
    """
    config = _config_in(folder)
    if not config.base_model_name_or_path:
        raise ModelError(f"{folder / CONFIG}: does not name the model that it belongs to (base_model_name_or_path)")
    return str(config.base_model_name_or_path), str(config.revision or "main")


def load_merged(model: PreTrainedModel, folder: Path) -> None:
    """Merge a saved adapter, and its head, into the classifier that it belongs to.

    Args:
        model: the base model, with a head of the right size; changed in place.
        folder: what :func:`save` wrote.

    Raises:
        ModelError: unreadable, or of a model of another size or kind, or of other weights.
    """
    config = _config_in(folder)
    config.modules_to_save, config.inference_mode = None, False  # the head is put in place here
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            of_base = (file.metadata() or {}).get(_OF_BASE)  # peft's own files do not tell
        saved = load_file(folder / WEIGHTS)
        own = fingerprint_of_body(model) if of_base else None
        _inject(model, config)
        weights = {_with_adapter_name(name.removeprefix(_PREFIX)): value for name, value in saved.items()}
        wanted = head_parameters(model) | {name for name, _ in model.named_parameters() if ".lora_" in name}
        if wanted != weights.keys():
            odd = min(wanted ^ weights.keys())
            raise ModelError(f"{folder}: this adapter is of another kind of model than its base ({odd})")
        if own != of_base:
            raise ModelError(
                f"{folder}: its adapter was trained beside other weights than those of "
                f"{config.base_model_name_or_path} now; put those back, or train again"
            )
        model.load_state_dict(weights, strict=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as exc:
        raise ModelError(f"{folder}: its adapter cannot be loaded into the base model ({first_line(exc)})") from exc
    merge(model)


def _config_in(folder: Path) -> Any:
    peft = require("peft")
    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelError(f"{folder / CONFIG}: cannot be read ({first_line(exc)})") from exc
    if not isinstance(config, peft.LoraConfig):
        raise ModelError(f"{folder / CONFIG}: a {config.peft_type} adapter; only LoRA can be merged into a classifier")
    return config


def _inject(model: PreTrainedModel, config: PreTrainedConfig) -> None:
    require("peft").inject_adapter_in_model(config, model, adapter_name=_NAME)


def _with_adapter_name(name: str) -> str:
    return re.sub(r"\.(lora_[AB])\.", rf".\1.{_NAME}.", name)


def _chosen_layers(model: PreTrainedModel, targets: str | None) -> list[str]:
    """Whole names of the linear layers to adapt."""
    kind = model.config.model_type
    of_body = _linear_layers(model, find_body(model))
    if not of_body:
        raise ModelError(f"--lora: {kind} has no linear layers in its body to adapt; {_HOW_TO_DO_WITHOUT}")
    if targets is None or targets == ALL_LINEAR:
        in_stack = _linear_layers(model, encoder_layers(model))
        by_default = find_family(model.config).queries_and_values
        chosen = [name for name in in_stack if targets or name.rpartition(".")[2] in by_default]
        if not chosen:
            raise ModelError(
                f"--lora: {kind} has no queries and values by names that are known here; name layers with "
                f"--lora_target_modules: {_kinds(of_body)}"
            )
        return chosen
    wanted = [word.strip() for word in targets.split(",")]
    for word in wanted:
        if not any(_is_called(name, word) for name in of_body):
            raise ModelError(
                f"--lora_target_modules {word}: no linear layer of this {kind} is called so; there are "
                f"{_kinds(of_body)}, and {ALL_LINEAR}"
            )
    return [name for name in of_body if any(_is_called(name, word) for word in wanted)]


def _linear_layers(model: nn.Module, part: nn.Module) -> list[str]:
    inside = {id(module) for module in part.modules()}
    return [name for name, module in model.named_modules() if type(module) is nn.Linear and id(module) in inside]


def _is_called(name: str, word: str) -> bool:
    return bool(word) and (name == word or name.endswith(f".{word}"))


def _kinds(names: Sequence[str]) -> str:
    return ", ".join(sorted({name.rpartition(".")[2] for name in names}))
