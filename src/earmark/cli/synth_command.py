"""``earmark synth``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from earmark.cli.command import Command, HelpPage
from earmark.settings.flags import COUNT, Settings, flag


@dataclass
class SynthOptions(Settings):
    """``earmark synth``: the folder and size of the corpus."""

    REQUIRED = ("folder",)
    MISSING = "no folder for the corpus. Name one: earmark synth DIR."

    folder: str | None = flag(None, "Folder of the corpus.")
    utterances: int = flag(3000, "Spoken words to synthesise, over all splits.", check=COUNT)
    seed: int = flag(0, "Seed of voices, rates, pitches and noises; the same seed gives the same corpus.")


def _synth(options: SynthOptions) -> None:
    from earmark.progress import Progress
    from earmark.synth.synth import write_corpus

    with Progress("synthesising speech", None) as progress:
        folder = Path(str(options.folder))
        written = write_corpus(folder, utterances=options.utterances, seed=options.seed, progress=progress.to)
    print(written.summary)


_PAGE = HelpPage(
    summary="write a synthetic spoken-command corpus",
    usage="""
earmark synth FOLDER [flags]
FOLDER receives the corpus; an earlier corpus there is replaced if the flags differ""",
    text="The corpus has the layout of the Speech Commands archive.",
    examples="""
earmark synth corpus --utterances 5000
earmark train --dataset_name superb --dataset_config_name ks --data_dir corpus \\
    --model_type tc_resnet --output_dir runs/synthetic""",
)
COMMAND = Command("synth", _synth, (SynthOptions,), _PAGE, words=("folder",), needs_files=False)
