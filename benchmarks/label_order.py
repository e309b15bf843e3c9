"""What the orders of ``earmark label`` are worth: a model of few clips asks for more, and learns from the answers.

    python benchmarks/label_order.py --data_dir recordings --model_name_or_path whisper-tiny-en

Of the training clips, ``--start`` of each class are known at first. A head is fitted on them as ``earmark train
--few_shot`` does, all others are put in order as ``earmark label`` does, the first ``--asked`` of them get their true
label, and the head is fitted again. The accuracies are those of validation clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from earmark.config import DataArguments
from earmark.data.folders import load_folder
from earmark.data.usable import UsableClips, keep_usable
from earmark.label import order
from earmark.models.build import AudioModel, ModelSource, build_for_training
from earmark.models.embedding import EmbeddingModel
from earmark.runs.judged import targets_of
from earmark.scoring.forward import softmax
from earmark.scoring.table import score_table
from earmark.train.few_shot import fit_linear

ORDERS = ("random", "uncertain", "diverse", "confident")


def main() -> None:
    """Print a row for each order: accuracy before, and after each number of answers; mean of the seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--start", type=int, default=5, help="clips of each class that are known at first")
    parser.add_argument("--asked", type=int, nargs="+", default=[30, 60, 120], help="answers")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    splits = load_folder(Path(options.data_dir))
    assert splits.train is not None
    assert splits.validation is not None
    tables = {"train": splits.train, "validation": splits.validation}
    usable, _ = keep_usable(tables, 16_000, DataArguments())
    longest_s = float(usable["train"].durations_s.max())
    source = ModelSource(name_or_path=options.model_name_or_path)
    audio = build_for_training(source, usable["train"].table.labels(), None, longest_s)
    train, validation = (embedded(audio, usable[name]) for name in ("train", "validation"))
    rows: dict[str, list[list[float]]] = {name: [] for name in ORDERS}
    for seed in options.seeds:
        for name in ORDERS:
            rows[name].append(run(train, validation, name, options.start, options.asked, seed))
    head = " | ".join(f"+{count}" for count in options.asked)
    print(f"| order | {options.start} a class | {head} |\n|---|" + "---|" * (1 + len(options.asked)))
    for name, of_seeds in rows.items():
        means, spread = np.mean(of_seeds, axis=0), np.std(of_seeds, axis=0, ddof=1)
        print(f"| {name} | " + " | ".join(f"{m:.4f} ± {s:.4f}" for m, s in zip(means, spread, strict=True)) + " |")


Embedded = tuple[np.ndarray, np.ndarray]


def embedded(audio: AudioModel, clips: UsableClips) -> Embedded:
    """Embeddings float64 (N, D) and classes int (N,)."""
    model, cpu = EmbeddingModel(audio.model.eval()), torch.device("cpu")
    rows = score_table(model, audio.frontend, clips.waveforms, batch_size=32, device=cpu, what="embedding")
    return rows.astype(np.float64), targets_of(clips.table, audio.labels)


def run(train: Embedded, validation: Embedded, name: str, start: int, asked: list[int], seed: int) -> list[float]:
    """Accuracies before, and after each number of answers."""
    vectors, targets = train
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    known = np.concatenate([shuffled[targets[shuffled] == target][:start] for target in range(targets.max() + 1)])
    pool = np.setdiff1d(np.arange(len(targets)), known)
    weights, bias, _ = fit_linear(vectors[known], targets[known], seed=seed)
    probabilities = softmax(vectors[pool] @ weights.T + bias)
    places = {
        "random": lambda: order.shuffled(len(pool), seed),
        "uncertain": lambda: order.uncertain(probabilities),
        "diverse": lambda: order.diverse(probabilities, vectors[pool]),
        "confident": lambda: order.confident(probabilities),
    }[name]()
    accuracies = []
    for count in [0, *asked]:
        learned = np.concatenate([known, pool[places[:count]]])
        weights, bias, _ = fit_linear(vectors[learned], targets[learned], seed=seed)
        answers = (validation[0] @ weights.T + bias).argmax(axis=1)
        accuracies.append(float((answers == validation[1]).mean()))
    return accuracies


if __name__ == "__main__":
    main()
