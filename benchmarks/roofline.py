"""Predict the speed of training and inference on an accelerator, part by part, from its published peaks.

    python benchmarks/roofline.py [--clips 128] [--seconds 1]

Each part of a step does floating-point operations and moves bytes through the memory of the device. The longer of these
two times is the time of the part, at the fraction of the published peaks that good kernels reach (:data:`REACHED`).
Parts run one after another. A step takes longer than its parts if the host needs longer to start its kernels or to copy
its clips.

The formulas are for wav2vec2-base and for Whisper-tiny cut to the clip length. A test compares the operations with
PyTorch's counter on the real modules. Numbers have 16 bits, except Whisper's log-mel (float32) and the optimizer
(float32 weights, gradients and averages).

Shapes: B clips, T samples, F frames, D width, I inner width of the MLP.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass

RATE_HZ = 16_000
REACHED = 0.8  # fraction of the peaks; on an H100, large matrix products reach 70 to 80 %, and copies 80 to 90 %
CLASSES = 12
_HALF, _SINGLE = 2, 4  # bytes of a number
_DROPOUT = 2.5  # 16-bit values that dropout reads and writes for each input value, including a mask of one byte
# Bytes for each weight that is trained: a cast to 16 bits (6), its gradient (6), clipping (12) and AdamW (28).
_OPTIMIZER_BYTES = 52
_CAST_BYTES = 6


@dataclass(frozen=True)
class Peaks:
    """Published peaks of a device.

    Attributes:
        name: name in the tables.
        pattern: regular expression for the name that the driver reports.
        half_flop_s: operations per second of dense matrix products in bfloat16 and float16.
        single_flop_s: the same in float32.
        memory_bytes_s: bandwidth of the memory, in bytes per second.
        transfer_bytes_s: bandwidth from the host, in one direction, in bytes per second.
        start_s: time that the host needs to start one kernel in eager mode, in seconds; an assumption.
        source: where the peaks are published.
    """

    name: str
    pattern: str
    half_flop_s: float
    single_flop_s: float
    memory_bytes_s: float
    transfer_bytes_s: float
    start_s: float
    source: str


DEVICES = (
    Peaks("H100 SXM", r"\bH100(?!.*(PCIe|NVL))", 989e12, 67e12, 3.35e12, 64e9, 5e-6, "NVIDIA H100 datasheet"),
    Peaks("H200", r"\bH200(?!.*NVL)", 989e12, 67e12, 4.8e12, 64e9, 5e-6, "NVIDIA H200 datasheet"),
    Peaks(
        "910B2", r"910B[12](?!\d)", 354e12, 88e12, 1.6e12, 32e9, 10e-6,
        "24 cores x 4,096 multiplications x 1.8 GHz, a quarter of it in float32; memory: one die of the 910C in "
        "arXiv:2506.12708; PCIe 4.0",
    ),
)  # fmt: skip


def find_peaks(device_name: str) -> Peaks | None:
    """Return the peaks of a device by the name that its driver reports; ``None`` if it is not known."""
    return next((peaks for peaks in DEVICES if re.search(peaks.pattern, device_name)), None)


@dataclass(frozen=True)
class Cost:
    """The cost of one part for a batch.

    Attributes:
        part: name of the part.
        flop: operations of matrix products and convolutions.
        bytes: bytes that go through the memory of the device.
        single: whether the operations are in float32.
    """

    part: str
    flop: float
    bytes: float
    single: bool = False

    def seconds(self, peaks: Peaks) -> float:
        """Return the time on a device."""
        rate = peaks.single_flop_s if self.single else peaks.half_flop_s
        return max(self.flop / rate, self.bytes / peaks.memory_bytes_s) / REACHED

    def times(self, factor: float) -> Cost:
        """Return the cost of several such parts."""
        return Cost(self.part, self.flop * factor, self.bytes * factor, self.single)


@dataclass(frozen=True)
class Work:
    """A way to use a model.

    Attributes:
        name: name in the tables.
        trains: whether gradients are computed and weights updated.
        keeps_features: whether the output of the frozen feature encoder is stored, as in ``earmark bench train``.
        fused: whether a compiler merges elementwise operations, so that the host starts a whole step at once.
    """

    name: str
    trains: bool
    keeps_features: bool = False
    fused: bool = False


TRAIN = Work("train", trains=True)
TRAIN_KEPT = Work("train, features kept", trains=True, keeps_features=True)
TRAIN_COMPILED = Work("train, features kept, compiled", trains=True, keeps_features=True, fused=True)
INFER = Work("infer", trains=False)
INFER_COMPILED = Work("infer, compiled", trains=False, fused=True)


@dataclass(frozen=True)
class Model:
    """A model of a certain size, with its costs.

    Attributes:
        name: name in the tables.
        parameters: number of its weights, with a head of :data:`CLASSES` classes.
        frozen: number of weights that are frozen in training.
        tensors: number of its weight tensors; each step casts every tensor and its gradient once.
        starts: estimated number of kernels in eager mode: outside the layers, in a layer, and in the gradients of a
            layer.
        layers: number of layers.
        costs: returns the costs of the parts, given clips, samples and :class:`Work`.
    """

    name: str
    parameters: int
    frozen: int
    tensors: int
    starts: tuple[int, int, int]
    layers: int
    costs: Callable[[int, int, Work], list[Cost]]

    def num_starts(self, work: Work) -> int:
        """Return the number of kernels that the host starts in a step; 0 if it starts the whole step at once."""
        outside, forward, backward = self.starts
        if work.fused:
            return 0
        if not work.trains:
            return outside + self.layers * forward
        return 3 * outside + self.layers * (forward + backward) + 2 * self.tensors


def product(part: str, rows: float, inputs: int, outputs: int, size: int = _HALF) -> Cost:
    """Return the cost of the matrix product (rows, inputs) x (inputs, outputs)."""
    moved = rows * inputs + inputs * outputs + rows * outputs
    return Cost(part, 2 * rows * inputs * outputs, size * moved, size == _SINGLE)


def convolution(part: str, clips: int, before: int, frames: int, channels: tuple[int, int], kernel: int) -> Cost:
    """Return the cost of a convolution from ``before`` to ``frames`` frames; ``channels`` are input and output."""
    inputs, outputs = channels
    weights = kernel * inputs * outputs
    return Cost(part, 2 * clips * frames * weights, _HALF * (clips * (before * inputs + frames * outputs) + weights))


def elementwise(part: str, values: float, passes: float) -> Cost:
    """Return the cost of operations that read or write ``values`` numbers ``passes`` times in all."""
    return Cost(part, 0, _HALF * values * passes)


def transformer(clips: int, frames: int, width: int, inner: int, layers: int, work: Work, noisy: bool) -> list[Cost]:
    """Return the costs of a stack of layers.

    Args:
        clips: B.
        frames: F.
        width: D.
        inner: I.
        layers: number of layers.
        work: how the layers are used.
        noisy: whether training has dropout and LayerDrop.
    """
    rows, learned = clips * frames, 3 if work.trains else 1  # two gradients for each product
    projections = product("attention", rows, width, width).times(4 * learned)
    # attention reads queries, keys and values, and writes its result; its gradients read five tensors and write three
    moved = _HALF * rows * width * (12 if work.trains else 4)
    scores = Cost("attention", 4 * clips * frames**2 * width * learned, moved)
    mlp = product("MLP", rows, width, inner).times(2 * learned)
    wide, deep = _passes(work, noisy and work.trains)
    norms = [elementwise("norms, GELU", rows * width, wide), elementwise("norms, GELU", rows * inner, deep)]
    return [cost.times(layers) for cost in (projections, scores, mlp, *norms)]


def _passes(work: Work, noisy: bool) -> tuple[float, float]:
    """Return how often a layer reads or writes frames of width D, and of width I, outside matrix products."""
    if work.fused:  # sum, norm and dropout are one kernel forward and one backward, and so are GELU and its dropout
        return (7.0 + 8.0, 2.0 + 3.0) if work.trains else (7.0, 2.0)
    # passes: two sums (3 each), two norms (2 each), GELU (2); gradients: two sums of branches and two norms (3 each),
    # GELU (3)
    wide, deep = (10.0 + 12.0, 2.0 + 3.0) if work.trains else (10.0, 2.0)
    if noisy:  # forward and backward: dropout after attention, in the MLP and after it, and LayerDrop's choice
        return wide + 2 * (2 * _DROPOUT + 3), deep + 2 * _DROPOUT
    return wide, deep


_CONVOLUTIONS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))  # kernel and stride of wav2vec2's encoder


def _wav2vec2_frames(samples: int) -> int:
    for kernel, stride in _CONVOLUTIONS:
        samples = (samples - kernel) // stride + 1
    return samples


def wav2vec2_costs(clips: int, samples: int, work: Work) -> list[Cost]:
    """Return the costs of wav2vec2-base with a frozen feature encoder."""
    channels, width, inner, layers, head = 512, 768, 3072, 12, 256
    learned = 3 if work.trains else 1
    found, before, inputs, frames = [], samples, 1, _wav2vec2_frames(samples)
    for number, (kernel, stride) in enumerate(_CONVOLUTIONS):
        if work.keeps_features:
            break
        after = (before - kernel) // stride + 1
        # GELU reads and writes once; the group norm of the first layer reads twice and writes once
        passes = 2 + (3 if number == 0 else 0)
        found.append(convolution("feature encoder", clips, before, after, (inputs, channels), kernel))
        found.append(elementwise("its norm, GELU", clips * after * channels, 2 if work.fused else passes))
        before, inputs = after, channels
    if not work.keeps_features:
        found.append(Cost("frontend", 0, clips * samples * (2 + 4 * _SINGLE)))  # int16 to normalized float32
    rows = clips * frames
    groups, kernel = 16, 128  # an even kernel size gives one extra frame, which is cut off
    positions = convolution("positions", clips, frames, frames + 1, (width // groups, width), kernel)
    return [
        *found,
        product("projection", rows, channels, width).times(learned),
        positions.times(learned),
        *transformer(clips, frames, width, inner, layers, work, noisy=True),
        product("head", rows, width, head).times(learned),
        product("head", clips, head, CLASSES).times(learned),
    ]


def whisper_costs(clips: int, samples: int, work: Work) -> list[Cost]:
    """Return the costs of Whisper-tiny's encoder, cut to the clip length; the whole encoder is trained."""
    bins, mels, width, inner, layers, head = 201, 80, 384, 1536, 4, 256
    learned = 3 if work.trains else 1
    mel_frames = samples // 160
    frames = mel_frames // 2
    first = convolution("feature encoder", clips, mel_frames, mel_frames, (mels, width), 3)
    second = convolution("feature encoder", clips, mel_frames, frames, (width, width), 3)
    return [
        product("frontend", clips * mel_frames, 400, 2 * bins, _SINGLE),
        product("frontend", clips * mel_frames, bins, mels, _SINGLE),
        first.times(2 if work.trains else 1),  # the spectrogram has no gradient
        second.times(learned),
        elementwise("its norm, GELU", clips * (mel_frames + frames) * width, 5 if work.trains else 2),
        *transformer(clips, frames, width, inner, layers, work, noisy=False),
        product("head", clips * frames, width, head).times(learned),
        product("head", clips, head, CLASSES).times(learned),
    ]


def _copied_bytes(clips: int, samples: int, work: Work) -> float:
    """Return the bytes to copy: clips as int16 in training or float32 in inference, or features of wav2vec2-base."""
    if work.keeps_features:
        return clips * _wav2vec2_frames(samples) * 512 * _HALF
    return clips * samples * (2 if work.trains else _SINGLE)


# Kernels of a layer: six products, attention, two sums, two norms and GELU; for wav2vec2 also three dropouts and
# LayerDrop (3). Kernels of its gradients: three for each product, about two for attention and each norm, the sums of
# branches, and one for each other operation.
WAV2VEC2 = Model("wav2vec2-base", 94_571_660, 4_200_448, 215, (40, 18, 35), 12, wav2vec2_costs)
WHISPER = Model("Whisper-tiny", 7_753_228, 19_200, 71, (20, 13, 29), 4, whisper_costs)
MODELS = {"wav2vec2": WAV2VEC2, "whisper": WHISPER}  # by model_type


@dataclass(frozen=True)
class Prediction:
    """The predicted time of a step.

    Attributes:
        parts: seconds by part, on the device.
        start_s: time that the host needs to start all kernels, in seconds.
        transfer_s: time to copy the clips to the device, in seconds.
        clips: number of clips in the step.
    """

    parts: dict[str, float]
    start_s: float
    transfer_s: float
    clips: int

    @property
    def device_s(self) -> float:
        """Time of all parts on the device, in seconds."""
        return sum(self.parts.values())

    @property
    def seconds(self) -> float:
        """Time of the step, in seconds."""
        return max(self.device_s, self.start_s, self.transfer_s)

    @property
    def clips_per_second(self) -> float:
        """Clips per second."""
        return self.clips / self.seconds

    @property
    def bound(self) -> str:
        """What limits the step."""
        if self.seconds == self.device_s:
            return "device"
        return "host" if self.seconds == self.start_s else "transfer"


def predict(model: Model, work: Work, peaks: Peaks, clips: int = 128, seconds: float = 1.0) -> Prediction:
    """Return the prediction for batches of ``clips`` clips of ``seconds`` seconds."""
    samples = round(seconds * RATE_HZ)
    parts: dict[str, float] = {}
    for cost in costs(model, work, clips, samples):
        parts[cost.part] = parts.get(cost.part, 0.0) + cost.seconds(peaks)
    copied_s = _copied_bytes(clips, samples, work) / peaks.transfer_bytes_s / REACHED
    return Prediction(parts, model.num_starts(work) * peaks.start_s, copied_s, clips)


def costs(model: Model, work: Work, clips: int, samples: int) -> list[Cost]:
    """Return the costs of all parts of a step."""
    found = model.costs(clips, samples, work)
    if work.trains:
        learned = model.parameters - model.frozen
        found.append(Cost("optimizer, casts", 0, _OPTIMIZER_BYTES * learned + _CAST_BYTES * model.frozen))
    return found


def by_part(model: Model, work: Work, clips: int, samples: int) -> dict[str, tuple[float, float]]:
    """Return ``(flop, bytes)`` of each part of a step."""
    sums: dict[str, tuple[float, float]] = {}
    for cost in costs(model, work, clips, samples):
        flop, moved = sums.get(cost.part, (0.0, 0.0))
        sums[cost.part] = flop + cost.flop, moved + cost.bytes
    return sums


def works(model: Model) -> list[Work]:
    """Return the ways to use a model; only the features of wav2vec2 can be stored."""
    if model is WAV2VEC2:
        return [TRAIN, TRAIN_KEPT, TRAIN_COMPILED, INFER, INFER_COMPILED]
    return [TRAIN, Work("train, compiled", trains=True, fused=True), INFER, INFER_COMPILED]


def rows(clips: int, seconds: float) -> list[list[str]]:
    """Return a table of all predictions."""
    table = [["model", "work", "device", "clips/s", "bound by", "device, ms", "host, ms", "copies, ms"]]
    for model in MODELS.values():
        for work in works(model):
            for peaks in DEVICES:
                found = predict(model, work, peaks, clips, seconds)
                times = [f"{1000 * value:.2f}" for value in (found.device_s, found.start_s, found.transfer_s)]
                rate = f"{found.clips_per_second:,.0f}"
                table.append([model.name, work.name, peaks.name, rate, found.bound, *times])
    return table


def cost_rows(clips: int, seconds: float) -> list[list[str]]:
    """Return a table of the operations and bytes of each part for a batch, and its fraction of the time by device."""
    table = [["model", "work", "part", "GFLOP", "MB", *(f"{peaks.name}, %" for peaks in DEVICES)]]
    for model in MODELS.values():
        for work in works(model):
            predictions = [predict(model, work, peaks, clips, seconds) for peaks in DEVICES]
            for part, (flop, moved) in by_part(model, work, clips, round(seconds * RATE_HZ)).items():
                shares = [f"{100 * found.parts[part] / found.device_s:.1f}" for found in predictions]
                table.append([model.name, work.name, part, f"{flop / 1e9:,.1f}", f"{moved / 1e6:,.0f}", *shares])
    return table


def markdown(table: list[list[str]]) -> str:
    """Return a table as Markdown."""
    head, *body = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([head, "|" + "---|" * len(table[0]), *body])


def main() -> None:
    """Print the table of predictions, or the table of costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=128, help="clips in a batch (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a clip in seconds (default: %(default)s)")
    parser.add_argument("--costs", action="store_true", help="print the operations and bytes of each part instead")
    args = parser.parse_args()
    print(markdown((cost_rows if args.costs else rows)(args.clips, args.seconds)))


if __name__ == "__main__":
    main()
