"""``earmark embed``."""

from __future__ import annotations

from earmark.cli.command import Command, HelpPage
from earmark.settings.prediction_flags import EmbedOptions


def _embed(options: EmbedOptions) -> None:
    from earmark.predict.inputs import check_inputs

    check_inputs(options.inputs, any_missing=False)  # before torch is imported, which takes seconds
    from earmark.predict.embed import embed_files

    embed_files(options)


_PAGE = HelpPage(
    summary="compute a vector for each recording: the input of the model's last layer",
    usage="""
earmark embed MODEL FILES_OR_FOLDERS... --output FILE [flags]
MODEL is a run folder, a model folder or a hub name of an audio classifier; its last layer is not used""",
    groups={"embeddings": "embeddings", "inference": "computation", "model": "loading the model"},
    text="An embedding is the mean over time of the last hidden states, float32.",
    examples="""
earmark embed runs/birds recordings --output embeddings.parquet
earmark embed runs/birds recordings --rows windows --window_seconds 3 --output embeddings.npy""",
)
COMMAND = Command("embed", _embed, (EmbedOptions,), _PAGE, words=("model_name_or_path", "inputs"), needs_training=True)
