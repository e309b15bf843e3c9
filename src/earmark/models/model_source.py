"""Describe the source of a model, without importing torch or Transformers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from earmark.models.checkpoint import find_checkpoint
from earmark.settings.model_flags import ModelArguments, NetworkArguments, PretrainedArguments, TrainedModelArguments


@dataclass
class ModelSource:
    """The source of a model.

    Attributes:
        name_or_path: checkpoint folder or hub name; ``None`` for random weights.
        model_type: architecture for random weights, such as ``"wav2vec2"``.
        config_overrides: ``"hidden_size=32,num_hidden_layers=2"`` or a JSON object; replaces settings of the checkpoint
            or of the architecture.
        config_name: folder or hub name of another model's configuration.
        feature_extractor: folder or hub name of another model's feature extractor.
        attention_mask: whether the frontend makes a mask if clips of a batch differ in length.
        keep_head: whether to reuse rows of the checkpoint's head if only some classes are the same.
        replaces_head: whether a new head is always fitted (``--few_shot``).
        task: task of a trained model whose configuration does not state it; ``None`` for single labels.
        warned: checkpoints about whose missing preprocessor settings a warning was already logged.
    """

    name_or_path: str | None = None
    model_type: str | None = None
    config_overrides: str | None = None
    config_name: str | None = None
    feature_extractor: str | None = None
    attention_mask: bool = True
    keep_head: bool = False
    replaces_head: bool = False
    revision: str = "main"
    token: str | None = field(default=None, repr=False)
    cache_dir: str | None = None
    allow_pickle: bool = False
    task: str | None = None
    trust_remote_code: bool = False
    _found: dict[str, Path] = field(default_factory=dict, repr=False)
    warned: set[Path] = field(default_factory=set, repr=False)

    def folder(self) -> Path | None:
        """Return the local folder of the checkpoint; ``None`` for random weights."""
        return self.find(self.name_or_path) if self.name_or_path else None

    def find(self, name: str) -> Path:
        """Return the local folder of ``name``; the hub is contacted once."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> Path:
        return find_checkpoint(
            name,
            revision=self.revision,
            token=self.token,
            cache_dir=self.cache_dir,
            allow_pickle=self.allow_pickle,
            trust_remote_code=self.trust_remote_code,
        )


def model_source(flags: PretrainedArguments) -> ModelSource:
    """Return the model source that flags describe. Only some commands have all of these flags."""
    source = ModelSource(
        name_or_path=flags.model_name_or_path,
        revision=flags.model_revision,
        token=flags.token,
        cache_dir=flags.cache_dir,
        allow_pickle=flags.allow_pickle,
        trust_remote_code=flags.trust_remote_code,
    )
    if isinstance(flags, TrainedModelArguments):
        source.task = flags.task
    if isinstance(flags, NetworkArguments):
        source.model_type = flags.model_type
        source.config_overrides = flags.config_overrides
        source.config_name = flags.config_name
        source.feature_extractor = flags.feature_extractor_name
    if isinstance(flags, ModelArguments):
        source.attention_mask = flags.attention_mask
        source.keep_head = flags.keep_head
        source.replaces_head = flags.few_shot
    return source
