"""Write the model card (README.md) in the format of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from earmark.models.checkpoint import hub_name
from earmark.tasks import SINGLE_LABEL, Task
from earmark.tasks.figures import Figures
from earmark.text import and_more

_LISTED_LABELS = 50


@dataclass(frozen=True)
class CardFacts:
    """Facts for a model card.

    Attributes:
        name: name of the model, usually the name of the run folder.
        architecture: ``model_type``.
        base_model: checkpoint that training started from; ``None`` for random weights.
        dataset: name of the data set.
        labels: class names.
        sampling_rate_hz: sampling rate of the model.
        max_length_s: longest input of the model, in seconds.
        splits: metrics of each scored split, by its name.
        training: the most important settings, by name.
        environment: package versions and device, by name.
        decision: lines about fitted temperature and thresholds, and their quality; empty if nothing was fitted.
        rejects: label that the model gives if it is not sure; ``None`` if it always predicts a class.
        task: task of the model.
        imported_first: module that registers the architecture with plain Transformers when it is imported.
    """

    name: str
    architecture: str
    base_model: str | None
    dataset: str
    labels: Sequence[str]
    sampling_rate_hz: int
    max_length_s: float
    splits: Mapping[str, Figures]
    training: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, object] = field(default_factory=dict)
    decision: Sequence[str] = ()
    rejects: str | None = None
    task: Task = SINGLE_LABEL
    imported_first: str | None = None


def model_card(facts: CardFacts) -> str:
    """Return ``README.md`` with a ``model-index``."""
    results = [
        EvalResult(
            task_type="audio-classification",
            task_name="Audio classification",
            dataset_type=_slug(facts.dataset),
            dataset_name=facts.dataset,
            dataset_split=split,
            metric_type=metric,
            metric_name=label,
            metric_value=round(value, 4),
        )
        for split, metrics in facts.splits.items()
        for metric, (label, value) in metrics.card_table().hub.items()
    ]
    data = ModelCardData(
        model_name=facts.name,
        eval_results=results or None,
        library_name="transformers",
        pipeline_tag="audio-classification",
        base_model=_hub_model(facts.base_model),
        tags=["audio-classification", "earmark", facts.architecture],
    )
    sections = [_what(facts), _results(facts), _usage(facts), _table("Training", facts.training), _limits(facts)]
    sections.append(_table("Environment", facts.environment))
    body = "\n\n".join(section for section in sections if section)
    return f"---\n{data.to_yaml()}\n---\n\n# {facts.name}\n\n{body}\n"


def _what(facts: CardFacts) -> str:
    start = f"fine-tuned from `{hub_name(facts.base_model)}`" if facts.base_model else "trained from random weights"
    listed = and_more([f"`{label}`" for label in facts.labels], _LISTED_LABELS)
    what = f"({facts.architecture}), {start} on {facts.dataset}."
    kind = "classifier" if facts.task.has_classes else "model"
    return f"An audio {kind} {what} {facts.task.purpose(facts.labels, listed)}"


def _results(facts: CardFacts) -> str:
    if not facts.splits:
        return ""
    tables = {split: figures.card_table() for split, figures in facts.splits.items()}
    names = list(next(iter(tables.values())).figures)
    lines = ["## Results", "", _line(["Split", "Clips", *names]), "|---" * (len(names) + 2) + "|"]
    for split, table in tables.items():
        cells = ["" if value is None else f"{value:.4f}" for value in table.figures.values()]
        lines.append(_line([split, f"{facts.splits[split].num_clips:,}", *cells]))
    split, table = list(tables.items())[-1]
    lines += ["", table.explained]
    if facts.decision:
        lines += ["", "Decision rule (`decision.json`):", "", *(f"- {line}" for line in facts.decision)]
    if table.heads:
        lines += [
            "",
            f"By {table.heads[0].lower()}, on {split}:",
            "",
            _line(table.heads),
            "|---" * len(table.heads) + "|",
        ]
        lines += [_line(row) for row in table.rows]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _usage(facts: CardFacts) -> str:
    lines = ["## Use", "", "```python", "import earmark", ""]
    lines += ['classifier = earmark.Classifier.from_pretrained("PATH_OR_NAME_OF_THIS_MODEL")']
    lines += ['classifier.predict("recording.wav", top_k=3)', "```"]
    lines += ["", "Or with Transformers alone:", "", "```python"]
    if facts.imported_first is not None:
        lines += [f"import {facts.imported_first}  # registers the architecture"]
    lines += ["from transformers import pipeline", ""]
    lines += ['classify = pipeline("audio-classification", model="PATH_OR_NAME_OF_THIS_MODEL")']
    rate = f"{facts.sampling_rate_hz:_}"
    lines += [f'classify({{"raw": samples, "sampling_rate": {rate}}})  # float32 (samples,), mono']
    lines += ['classify("recording.wav")  # needs the program ffmpeg', "```"]
    return "\n".join(lines)


def _limits(facts: CardFacts) -> str:
    return (
        "## Limits\n\n"
        f"The model takes mono audio at {facts.sampling_rate_hz:,} Hz, at most {facts.max_length_s:g} s at once. "
        f"Longer recordings are cut into windows, whose scores are averaged. {facts.task.limits(facts.rejects)}"
    )


def _table(title: str, values: Mapping[str, object]) -> str:
    if not values:
        return ""
    rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
    return f"## {title}\n\n| | |\n|---|---|\n{rows}"


def _hub_model(name: str | None) -> str | None:
    """Return the name of a model on the hub; ``None`` for a folder."""
    if name is None or Path(name).expanduser().exists():
        return None
    name = hub_name(name)
    return name if name.count("/") <= 1 and not name.startswith((".", "/", "~")) else None


def _slug(name: str) -> str:
    return "".join(char if char.isalnum() or char in "-_./" else "-" for char in name).strip("-") or "unnamed"
