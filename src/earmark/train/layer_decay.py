"""Learning rates of the parts of a model: the head, and each layer (``--layer_decay``)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from earmark.errors import ModelError, UsageError
from earmark.models.freeze import encoder_layers, find_body, head_parameters

if TYPE_CHECKING:
    from earmark.models.build_model import AudioModel

logger = logging.getLogger(__name__)


def depths(audio: AudioModel) -> dict[str, int]:
    """Return the depth of each parameter, by name.

    It is 0 before the layers (feature extractor, positions), 1 to L in the L layers, and L + 1 in the final norm and
    the head.

    Raises:
        ModelError: the body has no stack of layers.
    """
    model, family = audio.model, audio.family
    layers = encoder_layers(model, family)
    body = find_body(model, family)
    depth_by_weight = {id(weight): i for i, layer in enumerate(layers, 1) for weight in layer.parameters()}
    behind = family.parts_behind_layers(model.config)
    for name, weight in body.named_parameters():
        last = any(name.startswith(f"{part}.") for part in behind)
        depth_by_weight.setdefault(id(weight), len(layers) + 1 if last else 0)
    return {name: depth_by_weight.get(id(weight), len(layers) + 1) for name, weight in model.named_parameters()}


def learning_rates(audio: AudioModel, args: Any) -> dict[str, float]:
    """Return the peak learning rate of each parameter, by name.

    The rate of a layer is ``layer_decay`` times the rate of the layer above it (Clark et al. 2020, arXiv:2003.10555,
    and for vision Bao et al. 2021, arXiv:2106.08254), because low layers are general and should change least. The head
    keeps its full rate.

    Args:
        audio: classifier.
        args: settings with ``learning_rate``, ``head_learning_rate`` and ``layer_decay``.

    Raises:
        UsageError: ``layer_decay`` is set for a model without layers.
    """
    head = head_parameters(audio.model, audio.family)
    of_head = args.learning_rate if args.head_learning_rate is None else args.head_learning_rate
    names = [name for name, _ in audio.model.named_parameters()]
    if args.layer_decay is None:
        return {name: of_head if name in head else args.learning_rate for name in names}
    try:
        depth_by_weight = depths(audio)
    except ModelError as exc:
        raise UsageError(f"--layer_decay: {audio.architecture} has no stack of layers. Leave it out.") from exc
    top = max(depth_by_weight.values())
    return {
        name: of_head if name in head else args.learning_rate * args.layer_decay ** (top - depth)
        for name, depth in depth_by_weight.items()
    }


def give_rates(optimizer: Any, audio: AudioModel, args: Any) -> Any:
    """Split the parameter groups of an optimizer by the rates of :func:`learning_rates`, and return it.

    The group with the rate of ``--learning_rate`` comes first, because Trainer logs the rate of the first group.

    Raises:
        UsageError: the optimizer does not have the weights of the model, because FSDP shards them.
    """
    by_name = learning_rates(audio, args)
    rate_by_weight = {id(weight): by_name[name] for name, weight in audio.model.named_parameters()}
    if args.layer_decay is None and len(set(by_name.values())) == 1:
        return optimizer
    for group in list(optimizer.param_groups):
        if args.layer_decay is not None and any(id(weight) not in rate_by_weight for weight in group["params"]):
            raise UsageError(
                "--layer_decay: --fsdp shards the weights, so layers cannot be distinguished. Keep one of the flags."
            )
        rates = {id(weight): rate_by_weight.get(id(weight), args.learning_rate) for weight in group["params"]}
        # then the other rates, from the highest to the lowest
        order = sorted(set(rates.values()), key=lambda rate: (rate != args.learning_rate, -rate))
        members = [[weight for weight in group["params"] if rates[id(weight)] == rate] for rate in order]
        for i, (rate, weights) in enumerate(zip(order, members, strict=True)):
            if i == 0:
                group.update(params=weights, lr=rate)
            else:
                optimizer.add_param_group({**group, "params": weights, "lr": rate})
    _log_rates(optimizer, args)
    return optimizer


def _log_rates(optimizer: Any, args: Any) -> None:
    rates = [group["lr"] for group in optimizer.param_groups if group["params"]]
    if args.layer_decay is not None:
        logger.info(
            "layer decay %g: %d rates, from %.3g to %.3g", args.layer_decay, len(set(rates)), min(rates), max(rates)
        )


def rates_fact(args: Any) -> str:
    """Return the kind of parameter groups, which must match the optimizer of a checkpoint."""
    kind = "one rate" if args.head_learning_rate in (None, args.learning_rate) else "a rate of the head's own"
    return kind if args.layer_decay is None else f"{kind}, decayed by layer"
