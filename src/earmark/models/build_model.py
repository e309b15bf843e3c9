"""Build a classifier: body from a checkpoint or from random weights, head of the right size, and frontend.

This works for all architectures of Transformers' audio classification mapping, and for earmark's TC-ResNet.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from earmark.errors import ModelError
from earmark.families.family import Family
from earmark.families.family_registry import find_family
from earmark.families.frontend_settings import Extractor
from earmark.models.adapters import is_adapter
from earmark.models.clip_length import cut_to_length, length_for_training_s
from earmark.models.extractor import load_extractor
from earmark.models.forward import install_forward
from earmark.models.frontend import Frontend
from earmark.models.head import place_rows, saved_head
from earmark.models.model_source import ModelSource
from earmark.models.plain_checkpoint import load_plain
from earmark.models.stated_task import CONFIG_KEY, saved_section, settle_task
from earmark.sources.background import find_background
from earmark.tasks import SINGLE_LABEL, Task, task_of_config, write_task
from earmark.tasks.decision import FILE_NAME as DECISION
from earmark.tasks.decision import PLAIN, Decision, read_decision
from earmark.text import and_more

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

logger = logging.getLogger(__name__)

# Longest window for a model that takes any length and was not trained by earmark.
_DEFAULT_WINDOW_S = 30.0


@dataclass
class AudioModel:
    """A classifier with its frontend.

    Attributes:
        model: classifier of Transformers, or a :class:`earmark.families.plain_model.PlainClassifier` that was loaded to
            score; ``model(**frontend(waveforms)).logits`` is (B, C) float32.
        family: family of its architecture.
        frontend: converts waveforms to model inputs.
        labels: class names in the order of the logits.
        decision: how to turn probabilities into predictions; the forward of ``model`` applies its temperature.
    """

    model: Any
    family: Family
    frontend: Frontend
    labels: list[str]
    decision: Decision = PLAIN

    @property
    def architecture(self) -> str:
        """Model type, as in Transformers."""
        return str(self.model.config.model_type)

    @property
    def task(self) -> Task:
        """Task of the model."""
        return task_of_config(self.model.config)

    @property
    def background_class(self) -> str | None:
        """Name of the background class, which means "none of the other classes"; ``None`` without one."""
        return find_background(self.labels, getattr(self.model.config, "background_class", None))

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors), configuration and preprocessor in Transformers' format, after training."""
        self.model.save_pretrained(folder)
        self.frontend.save(folder)
        let_others_read(Path(folder))


def let_others_read(folder: Path) -> None:
    """Give weights the permissions of other new files: safetensors makes them readable by their owner only."""
    mask = os.umask(0)
    os.umask(mask)
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o666 & ~mask)


def build_for_training(
    source: ModelSource,
    labels: Sequence[str],
    length_s: float | None,
    longest_s: float,
    task: Task = SINGLE_LABEL,
    unit: tuple[float, float] | None = None,
) -> AudioModel:
    """Build a model to train on ``labels`` with clips of at most ``length_s``.

    Args:
        source: checkpoint or architecture.
        labels: class names, or the name of the number for a regression. :mod:`earmark.models.head` decides which
            rows of the checkpoint's head are reused.
        length_s: requested clip length in seconds; ``None`` for ``longest_s``, or the architecture's limit if that is
            shorter.
        longest_s: duration of the longest training clip, in seconds.
        task: task of the model.
        unit: mean and standard deviation of the numbers to learn, for a regression.

    Raises:
        ModelError: weights of the body are missing. See also :func:`earmark.models.transformers_model.load_config` and
            :mod:`earmark.models.checkpoint`.
    """
    from earmark.models.saved_names import accept_saved_names
    from earmark.models.transformers_model import load_config, load_weights, random_weights, read_config

    folder = source.folder()
    if folder is not None and is_adapter(folder):
        raise ModelError(f"{folder}: training cannot start from an adapter. Name its base model, or a merged model.")
    config = load_config(source, folder)
    family = find_family(config)
    before = copy.deepcopy(config if source.config_name is None or folder is None else read_config(folder, source))
    config.label2id = {label: i for i, label in enumerate(labels)}
    config.id2label = dict(enumerate(labels))
    write_task(config, task)
    if folder is None:
        model = random_weights(config, source)
    else:
        loaded = load_weights(folder, config, family, source, fresh_head=True)
        model = loaded.model
        head = saved_head(
            loaded, folder, before, lambda: load_weights(folder, before, family, source, fresh_head=False)
        )
        how = place_rows(loaded, head, labels, task, unit, keep=source.keep_head)
        if not source.replaces_head:
            logger.info("%s", how)
        if (folder / DECISION).is_file():
            logger.info("%s: ignored, because it was fitted for the weights before training", folder / DECISION)
    accept_saved_names(model)
    extractor = load_extractor(source, folder, model.config, family)
    length_s = length_for_training_s(model.config, family, extractor, length_s, longest_s)
    extractor = cut_to_length(model, family, extractor, length_s)
    saved: dict[str, Any] = {"max_length_seconds": length_s}
    if unit is not None:
        saved["unit"] = {"mean": unit[0], "deviation": unit[1]}
    setattr(model.config, CONFIG_KEY, saved)
    frontend = _frontend(ModelDescription(model.config, family, extractor), length_s)
    return AudioModel(install_forward(model, family), family, frontend, list(labels), Decision(task=task))


def load_trained(source: ModelSource, *, decided: bool = True) -> AudioModel:
    """Load a trained classifier with its head and labels, in evaluation mode.

    Args:
        source: folder or name of the model.
        decided: whether to use the fitted temperature and thresholds; ``False`` for uncalibrated probabilities.

    Raises:
        ModelError: this is not an audio classifier, weights (for example of the head) are missing, or
            ``decision.json`` cannot be used.
        UsageError: the task of the model is not ``source.task``.
    """
    assert source.name_or_path is not None, "a trained model has a folder or a name"
    folder = source.find(source.name_or_path)
    model = load_plain(source, folder)
    if model is None:
        from earmark.models.transformers_model import load_classifier

        model = load_classifier(source, folder)
    config = model.config
    saved = saved_section(config, folder)
    settle_task(config, source.task, source.name_or_path)
    family = find_family(config)
    extractor = load_extractor(source, folder, config, family)
    native_s = family.native_length_s(config, extractor)
    length_s = saved.get("max_length_seconds") or native_s or _DEFAULT_WINDOW_S
    labels = _labels(config, folder)
    task = task_of_config(config)
    decision = read_decision(folder, labels, task) if decided else Decision(task=task)
    install_forward(model, family).forward.temperature = decision.temperature
    frontend = _frontend(ModelDescription(config, family, extractor), length_s)
    return AudioModel(model, family, frontend, labels, decision)


def _labels(config: PreTrainedConfig, folder: Path) -> list[str]:
    """Return the class names in the order of the logits."""
    names, count = config.id2label, config.num_labels
    if sorted(names) != list(range(count)):
        raise ModelError(
            f"{folder}: id2label in config.json has the indices {and_more(list(map(str, names)))} for {count} classes. "
            f"Use the indices 0 to {count - 1}."
        )
    return [names[i] for i in range(count)]


class ModelDescription(NamedTuple):
    """Configuration, family and feature extractor of a model, without its weights."""

    config: PreTrainedConfig
    family: Family
    extractor: Extractor

    def limits(self, length_s: float) -> tuple[int, int]:
        """Return the shortest and longest input, in samples, for clips of at most ``length_s`` seconds."""
        rate_hz = int(self.extractor.sampling_rate)
        return self.family.min_samples(self.config, rate_hz), max(1, round(length_s * rate_hz))

    def limits_for_training(self, length_s: float | None, longest_s: float) -> tuple[int, int]:
        """Return :meth:`limits` of the model that :func:`build_for_training` would build with these lengths."""
        return self.limits(length_for_training_s(*self, length_s, longest_s))


def load_description(source: ModelSource) -> ModelDescription:
    """Return the description of a model.

    Raises:
        ModelError: see :func:`earmark.models.transformers_model.load_config` and
            :func:`earmark.models.extractor.load_extractor`.
    """
    from earmark.models.transformers_model import load_config

    folder = source.folder()
    config = load_config(source, folder)
    family = find_family(config)
    return ModelDescription(config, family, load_extractor(source, folder, config, family))


def _frontend(model: ModelDescription, length_s: float) -> Frontend:
    shortest, longest = model.limits(length_s)
    pads_itself = model.family.takes_one_length
    return Frontend(model.extractor, min_samples=shortest, max_samples=longest, pads_itself=pads_itself)
