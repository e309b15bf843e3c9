"""``earmark augment-preview``."""

from __future__ import annotations

from earmark.cli.command import Command, HelpPage
from earmark.settings.augmentation_flags import AugmentPreviewOptions


def _preview(options: AugmentPreviewOptions) -> None:
    from earmark.cli.train_command import show
    from earmark.train.preview import preview

    made = preview(options)
    show(made.notes)
    print(made.summary)


_PAGE = HelpPage(
    summary="show and play augmented clips, before training",
    usage="earmark augment-preview DATA_DIR --augment KINDS --output_dir DIR [flags]",
    groups={"preview": "preview", "augmentation": "augmentation", "model": "model", "data": "data"},
    notes="""
Writes wav files, spectrograms.svg and preview.html with players: each clip unchanged, and as training with this
--seed changes it in the first epochs. To get exactly these changes, name the model, or add --config
RUN/run_config.yaml.""",
    examples="""
earmark augment-preview recordings --augment noise --augment_noise rain --output_dir preview
earmark augment-preview recordings --augment speed --model_name_or_path whisper --output_dir preview""",
)
COMMAND = Command(
    "augment-preview",
    _preview,
    (AugmentPreviewOptions,),
    _PAGE,
    words=("data_dir",),
    training_file=True,
    trained_model=True,
    needs_training=True,
)
