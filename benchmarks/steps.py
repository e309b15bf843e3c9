"""Measure what each optimization of a training step gains: ``python benchmarks/steps.py MODEL...``.

A step is forward, backward, gradient clipping and AdamW, on the same batch of one-second clips, without LayerDrop. The
ways to compute it take turns in each round, and the results are medians over the rounds: clips per second, and clips
per second of CPU time, which other processes affect less. Each MODEL is a Whisper model or one of the wav2vec2 family
(``benchmarks/make_model.py``).

Like ``earmark train``, the script keeps freed memory, unless environment variables configure glibc's allocator.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import nn

from earmark.heap import freed_memory_kept
from earmark.models.build_model import AudioModel, ModelSource, build_for_training

RATE_HZ = 16_000
_PRODUCTS = "earmark.models.training_products"
_COMPILED = "compiled"


class Training:
    """The parts of a step that all ways share.

    Args:
        model: classifier in training mode.
    """

    def __init__(self, model: nn.Module) -> None:
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=0.0, fused=True)  # the weights stay as they are

    def step(self, logits: Callable[[], torch.Tensor]) -> None:
        """Take a step."""
        logits().float().square().mean().backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


@dataclass
class Way:
    """A way to compute a step.

    Attributes:
        name: what the table shows.
        logits: returns the logits of the batch.
        setting: returns the context in which the step is computed.
        wall_s: duration of each step, the first of which is a warm-up.
        cpu_s: CPU time of each step, of all threads.
    """

    name: str
    logits: Callable[[], torch.Tensor]
    setting: Callable[[], AbstractContextManager[Any]] = nullcontext
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        """Median duration of a step after the warm-up."""
        return statistics.median(self.wall_s[1:])

    def take(self, training: Training) -> None:
        """Take a step and note its times."""
        with self.setting():
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            training.step(self.logits)
            self.cpu_s.append(time.process_time() - cpu_s)
            self.wall_s.append(time.perf_counter() - wall_s)


def main() -> None:
    """Time a step, computed in several ways, and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="folder of a checkpoint")
    parser.add_argument("--clips", type=int, default=32, help="clips in the batch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds after a warm-up round (default: %(default)s)")
    parser.add_argument("--compile", action="store_true", help="also compile a step with torch.compile")
    parser.add_argument("--only", metavar="WORDS", default="", help="measure the ways with these words in their names")
    arguments = parser.parse_args()
    with freed_memory_kept():
        for name in arguments.models:
            audio = build(name)
            make_ways = whisper_ways if audio.model.config.model_type == "whisper" else wav2vec2_ways
            ways = [way for way in make_ways(audio, arguments.clips) if arguments.only in way.name]
            ways = [way for way in ways if arguments.compile or _COMPILED not in way.name]
            measure(ways, Training(audio.model), arguments.rounds)
            report(ways, arguments.clips)


def build(name: str) -> AudioModel:
    """Return a classifier in training mode, cut to one second."""
    audio = build_for_training(ModelSource(name_or_path=name), [str(i) for i in range(12)], 1.0, 1.0)
    setattr(audio.model.config, audio.family.layer_drop, 0.0)  # ways that skip other layers cannot be compared
    return audio


def wav2vec2_ways(audio: AudioModel, clips: int) -> list[Way]:
    """Return ways to compute the logits of a batch with a frozen feature encoder."""
    model = audio.model
    model.freeze_feature_encoder()
    samples = torch.randn(clips, RATE_HZ)
    with torch.no_grad():
        features = model.bfloat16()(input_values=samples, stop_at="features")
    model.float().train()
    model.forward.training_dtype = torch.bfloat16
    compiled = torch.compile(model)

    def library() -> torch.Tensor:
        return type(model).forward(model, samples).logits

    def from_features() -> torch.Tensor:
        return model(features=features).logits

    return [
        Way("wav2vec2, library's forward, fp32", library),
        Way("wav2vec2, library's forward, bf16 autocast", library, _autocast),
        Way("wav2vec2, own forward from samples", lambda: model(input_values=samples).logits),
        Way("wav2vec2, own forward from kept features", from_features),
        Way("wav2vec2, the same, torch adds the bias", from_features, _linear_of_torch),
        Way("wav2vec2, the same, torch's dropout", from_features, _dropout_of_torch),
        Way("wav2vec2, the same, torch's wide convolution", from_features, _wide_convolution_of_torch),
        Way(f"wav2vec2, the same, {_COMPILED}", lambda: compiled(features=features).logits),
    ]


def whisper_ways(audio: AudioModel, clips: int) -> list[Way]:
    """Return ways to compute the logits of a batch in bfloat16."""
    model = audio.model.train()
    model.forward.training_dtype = torch.bfloat16
    inputs = audio.frontend.inputs(0.1 * torch.randn(clips, RATE_HZ))
    compiled = torch.compile(model)

    def logits(module: Any = model, attention: str = "eager") -> torch.Tensor:
        model.set_attn_implementation(attention)
        return module(**inputs).logits

    return [
        Way("whisper, own step", logits),
        Way("whisper, torch's fused attention", partial(logits, attention="sdpa")),
        Way("whisper, torch adds the bias", logits, _linear_of_torch),
        Way("whisper, torch's convolutions", logits, _convolution_of_torch),
        Way(f"whisper, own step, {_COMPILED}", partial(logits, compiled)),
    ]


def _autocast() -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16)


def _linear_of_torch() -> AbstractContextManager[Any]:
    return patch(f"{_PRODUCTS}._linear", nn.Linear.forward)


def _convolution_of_torch() -> AbstractContextManager[Any]:
    return patch(f"{_PRODUCTS}._convolution", nn.Conv1d.forward)


def _wide_convolution_of_torch() -> AbstractContextManager[Any]:
    return patch(f"{_PRODUCTS}.is_faster", lambda *_: False)


def _dropout_of_torch() -> AbstractContextManager[Any]:
    return patch("earmark.families.wav2vec2_forward.dropout", F.dropout)


def measure(ways: Sequence[Way], training: Training, rounds: int) -> None:
    """Take steps in all ways in turn: a warm-up, then ``rounds`` that count."""
    for _ in range(rounds + 1):
        for way in ways:
            way.take(training)


def report(ways: Sequence[Way], clips: int) -> None:
    """Print the median speeds, and how long compilation took."""
    for way in ways:
        cpu_s = statistics.median(way.cpu_s[1:])
        print(f"{way.name:<48}{clips / way.median_s:8.1f} clips/s{clips / cpu_s:8.1f} clips per CPU second")
    for way in ways:
        if _COMPILED in way.name:
            print(f"{way.name}: compilation took {way.wall_s[0] - way.median_s:.0f} s")


if __name__ == "__main__":
    main()
