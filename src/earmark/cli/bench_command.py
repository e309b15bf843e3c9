"""``earmark bench``."""

from __future__ import annotations

from earmark.cli.command import Command, HelpPage, print_summary
from earmark.settings.bench_flags import BenchOptions

_PAGE = HelpPage(
    summary="measure this machine: data, training or inference",
    usage="""
earmark bench data [flags]
earmark bench train --model_name_or_path MODEL [flags]
earmark bench infer --model_name_or_path MODEL [flags]""",
    groups={"measurement": "measurement", "model": "model (train, infer)"},
    text="""
data   decode recordings into the store; store to batches: in this process, through workers, and on the device
train  training steps as `earmark train` takes them; preparation, evaluation and saving left out
infer  the scoring loop, from decoded samples to logits; decoding left out""",
    notes="The clips and their store go into a temporary folder (TMPDIR) that is removed at the end.",
    examples="""
earmark bench data --num_clips 5000
earmark bench train --model_type wav2vec2 --lengths lognormal:2.0,0.8,0.5,16 --json train.json
earmark bench infer --model_name_or_path runs/first --data_dir recordings""",
)
_RUN = print_summary("earmark.bench.run_benchmark", "bench")
COMMAND = Command("bench", _RUN, (BenchOptions,), _PAGE, words=("work",), needs_files=False, needs_training=True)
