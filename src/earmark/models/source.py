"""From flags to where a model comes from."""

from __future__ import annotations

from earmark.config import ModelArguments, PretrainedArguments
from earmark.models.build import ModelSource


def source_of(flags: PretrainedArguments) -> ModelSource:
    """The model source of a command line; training's flags say more than those of the other commands."""
    source = ModelSource(
        name_or_path=flags.model_name_or_path,
        revision=flags.model_revision,
        token=flags.token,
        cache_dir=flags.cache_dir,
        allow_pickle=flags.allow_pickle,
        trust_remote_code=flags.trust_remote_code,
    )
    if isinstance(flags, ModelArguments):
        source.model_type = flags.model_type
        source.config_overrides = flags.config_overrides
        source.config_name = flags.config_name
        source.feature_extractor = flags.feature_extractor_name
        source.attention_mask = flags.attention_mask
        source.keep_head = flags.keep_head
        source.replaces_head = flags.few_shot
    return source
