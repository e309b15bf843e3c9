"""``earmark quickstart``."""

from __future__ import annotations

from dataclasses import dataclass

from earmark.cli.command import Command, HelpPage
from earmark.settings.flags import SEED, Settings, flag
from earmark.settings.run_flags import DEVICE_HELP


@dataclass
class QuickstartOptions(Settings):
    """``earmark quickstart``: folder, seed and device."""

    folder: str = flag("quickstart", "Folder that receives the corpus and the run.")
    seed: int = flag(0, "Seed of the corpus and of training.", check=SEED)
    device: str = flag("auto", f"Device: {DEVICE_HELP}")


def _quickstart(options: QuickstartOptions) -> None:
    from earmark.quickstart import run

    print(run(options.folder, seed=options.seed, device=options.device).summary)


_PAGE = HelpPage(
    summary="train a spoken-command classifier on generated recordings, in two minutes on a CPU",
    usage="""
earmark quickstart [FOLDER] [flags]
FOLDER receives corpus/ (kept for the next time) and run/ (replaced); default: quickstart""",
    text="""
Synthesises a corpus of spoken commands in many voices, trains a small network from scratch, evaluates it on voices
that were held out, prints the results row and labels a few recordings. Needs: pip install 'earmark[train,synth]'""",
    examples="earmark quickstart",
)
COMMAND = Command(
    "quickstart", _quickstart, (QuickstartOptions,), _PAGE, words=("folder",), needs_files=False, needs_training=True
)
