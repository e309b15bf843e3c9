"""Measure how much each optimization of training gains: ``python benchmarks/steps.py MODEL [--whisper MODEL]``.

Each way runs forward and backward on the same batch of one-second clips. The ways take turns in each round, and the
results are medians over the rounds. MODEL is a model of the wav2vec2 family (``benchmarks/make_model.py wav2vec2
OUT``). With ``--whisper``, two attention implementations of a Whisper model are compared as well.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from earmark.models.build_model import AudioModel, ModelSource, build_for_training

RATE_HZ = 16_000


def main() -> None:
    """Time the ways and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a wav2vec2-family checkpoint")
    parser.add_argument("--whisper", help="folder of a Whisper checkpoint")
    parser.add_argument("--clips", type=int, default=32, help="clips in the batch")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds, after a warm-up round")
    arguments = parser.parse_args()
    report(wav2vec2_ways(arguments.model, arguments.clips), arguments.clips, arguments.rounds)
    if arguments.whisper:
        report(whisper_ways(arguments.whisper, arguments.clips), arguments.clips, arguments.rounds)


def wav2vec2_ways(name: str, clips: int) -> dict[str, Callable[[], torch.Tensor]]:
    """Return ways to compute the logits of a batch with a frozen feature encoder."""
    audio = build(name)
    model = audio.model
    model.freeze_feature_encoder()
    samples = torch.randn(clips, RATE_HZ)
    with torch.no_grad():
        features = model.bfloat16()(input_values=samples, stop_at="features")
    model.float()

    def library() -> torch.Tensor:
        return type(model).forward(model, samples).logits

    def autocast() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return type(model).forward(model, samples).logits

    def ours(**inputs: torch.Tensor) -> torch.Tensor:
        model.forward.training_dtype = torch.bfloat16
        return model(**inputs).logits

    return {
        "library, fp32": library,
        "library, bf16 autocast": autocast,
        "own forward, bf16 cast weights": lambda: ours(input_values=samples),
        "own forward, from kept features": lambda: ours(features=features),
    }


def whisper_ways(name: str, clips: int) -> dict[str, Callable[[], torch.Tensor]]:
    """Return ways to compute the logits of a batch in bfloat16: with fused attention, and with plain products."""
    audio = build(name)
    audio.model.forward.training_dtype = torch.bfloat16
    inputs = audio.frontend.inputs(0.1 * torch.randn(clips, RATE_HZ))

    def with_attention(kind: str) -> torch.Tensor:
        audio.model.set_attn_implementation(kind)
        return audio.model(**inputs).logits

    return {
        "whisper, fused attention": lambda: with_attention("sdpa"),
        "whisper, plain attention products": lambda: with_attention("eager"),
    }


def build(name: str) -> AudioModel:
    """Return a classifier in training mode, cut to one second."""
    audio = build_for_training(ModelSource(name_or_path=name), [str(i) for i in range(12)], 1.0, 1.0)
    audio.model.train()
    return audio


def report(ways: dict[str, Callable[[], torch.Tensor]], clips: int, rounds: int) -> None:
    """Run all ways in turn and print their medians."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, logits in ways.items():
            begun = time.perf_counter()
            logits().float().square().mean().backward()
            if number:
                seconds[name].append(time.perf_counter() - begun)
    for name, values in seconds.items():
        print(f"{name:<36}{clips / statistics.median(values):8.1f} clips/s")


if __name__ == "__main__":
    main()
