"""Compare the orders in which ``earmark label`` shows clips, by the accuracy of a model trained on the labelled clips.

    python benchmarks/label_order.py --data_dir recordings --model_name_or_path whisper-tiny-en

At first, the labels of ``--start`` training clips of each class are known. A head is fitted on these clips, as
``earmark train --few_shot`` does, and sorts all other training clips, as ``earmark label`` does. Then the first
``--asked`` of the sorted clips get their true labels, and the head is fitted again. The accuracies are measured on the
validation clips. With ``--rounds``, each new head sorts the unlabelled clips again.

At the end, a fraction of the validation clips gets wrong labels. A head fitted on ten clips of each class sorts these
clips as ``earmark label --check`` does, and the script counts how many wrong labels come first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from earmark.label import order
from earmark.label.one_label import OneLabel
from earmark.models.build_model import AudioModel, ModelSource, build_for_training
from earmark.models.embedding import EmbeddingModel
from earmark.runs.judged import table_targets
from earmark.scoring.table import score_table
from earmark.settings.data_flags import DataArguments
from earmark.sources.folders import load_folder
from earmark.store.usable import UsableClips, keep_usable
from earmark.tasks import softmax
from earmark.tasks.linear_fits import fit_classes

KIND = OneLabel()
ORDERS = ("random", "uncertain", "diverse", "confident")


def main() -> None:
    """Print a row for each order: mean accuracies over the seeds, before and after each number of added labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--start", type=int, default=5, help="clips of each class whose labels are known at first")
    parser.add_argument("--asked", type=int, nargs="+", default=[30, 60, 120], help="numbers of labels to add")
    parser.add_argument("--rounds", action="store_true", help="sort the other clips again after each number of labels")
    parser.add_argument("--wrong", type=float, default=0.05, help="fraction of wrong labels")
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
            rows[name].append(run(train, validation, name, options, seed))
    head = " | ".join(f"+{count}" for count in options.asked)
    print(f"| order | {options.start} a class | {head} |\n|---|" + "---|" * (1 + len(options.asked)))
    for name, of_seeds in rows.items():
        means, spread = np.mean(of_seeds, axis=0), np.std(of_seeds, axis=0, ddof=1)
        print(f"| {name} | " + " | ".join(f"{m:.4f} ± {s:.4f}" for m, s in zip(means, spread, strict=True)) + " |")
    for seed in options.seeds:
        planted, first, twice = found(train, validation, options.wrong, seed)
        print(f"seed {seed}: {planted} wrong labels, {first} among the first {planted}, {twice} among {2 * planted}")


Embedded = tuple[np.ndarray, np.ndarray]


def embedded(audio: AudioModel, clips: UsableClips) -> Embedded:
    """Return embeddings float64 (N, D) and classes int (N,)."""
    model, cpu = EmbeddingModel(audio.model.eval()), torch.device("cpu")
    rows = score_table(model, audio.frontend, clips.waveforms, batch_size=32, device=cpu, what="embedding")
    return rows.astype(np.float64), table_targets(clips.table, audio.labels)


def run(train: Embedded, validation: Embedded, name: str, options: argparse.Namespace, seed: int) -> list[float]:
    """Return the accuracies before and after each number of added labels."""
    vectors, targets = train
    learned = drawn(targets, options.start, seed)
    places = np.empty(0, np.int64)
    accuracies = []
    before = 0
    for count in [0, *options.asked]:
        learned = np.concatenate([learned, places[: count - before]])
        places, before = places[count - before :], count
        weights, bias, _ = fit_classes(vectors[learned], targets[learned], seed=seed)
        answers = (validation[0] @ weights.T + bias).argmax(axis=1)
        accuracies.append(float((answers == validation[1]).mean()))
        if options.rounds or not count:
            pool = np.setdiff1d(np.arange(len(targets)), learned)
            places = pool[in_order(name, softmax(vectors[pool] @ weights.T + bias), vectors[pool], seed + count)]
    return accuracies


def in_order(name: str, probabilities: np.ndarray, vectors: np.ndarray, seed: int) -> np.ndarray:
    """Return the rows of clips in the order in which to label them."""
    if name == "random":
        return order.shuffled(len(vectors), seed)
    if name == "diverse":
        return order.diverse(KIND.doubts(probabilities), vectors)
    return order.most_first(KIND.doubts(probabilities) if name == "uncertain" else KIND.sureness(probabilities))


def drawn(targets: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return ``count`` random clips of each class."""
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    return np.concatenate([shuffled[targets[shuffled] == target][:count] for target in range(targets.max() + 1)])


def found(train: Embedded, validation: Embedded, share: float, seed: int) -> tuple[int, int, int]:
    """Return the number N of wrong labels, and how many of them are among the first N and the first 2 * N clips."""
    rng, (vectors, targets) = np.random.default_rng(seed), validation
    wrong = rng.permutation(len(targets))[: round(share * len(targets))]
    given = targets.copy()
    given[wrong] = (targets[wrong] + rng.integers(1, targets.max() + 1, len(wrong))) % (targets.max() + 1)
    known = drawn(train[1], 10, seed)
    weights, bias, _ = fit_classes(train[0][known], train[1][known], seed=seed)
    places = order.most_first(-order.normalised_margins(softmax(vectors @ weights.T + bias), given))
    hits = np.isin(places, wrong).cumsum()
    return len(wrong), int(hits[len(wrong) - 1]), int(hits[2 * len(wrong) - 1])


if __name__ == "__main__":
    main()
