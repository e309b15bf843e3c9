"""The help pages. They import neither torch nor Transformers, so that help comes at once.

Flags of this project come from their dataclasses. Of the hundred flags of Transformers' trainer the page
shows the ones in :data:`TRAINING_FLAGS`, in our words; ``--help_all`` shows all.
"""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from earmark.augment_options import AugmentArguments, AugmentPreviewOptions
from earmark.bench_options import BenchOptions
from earmark.config import (
    DataArguments,
    EvaluateOptions,
    ModelArguments,
    PretrainedArguments,
    RunArguments,
)
from earmark.decision_options import CalibrateOptions, DecisionArguments, LossArguments
from earmark.options import (
    EmbedOptions,
    ExportOptions,
    InspectOptions,
    LabelOptions,
    PredictOptions,
    PushOptions,
    ServeOptions,
)

_GIVEN_AS_WORDS = {"inputs", "repo", "work"}  # fields without a flag of their own on the page
_METAVAR = {int: "N", float: "X"}


@dataclass(frozen=True)
class Flag:
    """One entry of a help page.

    Attributes:
        name: field name, without dashes.
        metavar: what stands for its value; empty for a boolean that is off by default.
        default: its default as shown; empty when the text says it or there is none.
        text: what it does.
    """

    name: str
    metavar: str
    default: str
    text: str


TRAINING_FLAGS = (
    Flag(
        "num_train_epochs",
        "X",
        "",
        "passes over the training clips (default: chosen from the number of clips and the model, shown in the log)",
    ),
    Flag("max_steps", "N", "", "number of optimizer steps, instead of epochs (default: no limit)"),
    Flag(
        "early_stopping_patience",
        "N",
        "",
        "stop after N evaluations without a better --metric_for_best_model; 0: never (default: a third to half of "
        "all evaluations if the number of epochs is chosen, else 0)",
    ),
    Flag("learning_rate", "X", "", "peak learning rate (default: by model family, shown when training starts)"),
    Flag("warmup_steps", "X", "0.1", "rise to that rate: below 1 a share of all steps, else a number of steps"),
    Flag("lr_scheduler_type", "NAME", "linear", "how the rate falls afterwards: linear, cosine, constant, ..."),
    Flag("per_device_train_batch_size", "N", "32", "clips a batch on each device"),
    Flag(
        "gradient_accumulation_steps",
        "N",
        "1",
        "batches added up before each step; devices x batch x this = clips a step (published recipes: 128)",
    ),
    Flag(
        "global_batch_size",
        "N",
        "",
        "clips a step over all devices; sets the accumulation, so that 1 card and 8 learn the same",
    ),
    Flag("head_learning_rate", "X", "", "peak rate of the head (default: the same; 5 times where a batch was scaled)"),
    Flag(
        "layer_decay", "X", "", "each layer learns this many times as fast as the one above it, e.g. 0.75 (default: 1)"
    ),
    Flag(
        "ema",
        "X",
        "",
        "evaluate and keep a moving average of the weights with this decay, e.g. 0.999; 0: none (default: 0.99 for "
        "tc_resnet and random weights if the number of epochs is chosen, else none)",
    ),
    Flag("lora", "RANK", "", "train adapters of this rank beside layers of the body, and the head: earmark[lora]"),
    Flag("lora_alpha", "X", "", "adapters are scaled by this, divided by their rank (default: twice the rank)"),
    Flag(
        "lora_target_modules",
        "NAMES",
        "",
        "names of linear layers, with commas, or all-linear (default: the attention's queries and values)",
    ),
    Flag("lora_save", "merged|separate", "merged", "a plain model; or adapters and head in peft's files"),
    Flag("per_device_eval_batch_size", "N", "32", "clips a batch on each device, in evaluation"),
    Flag("weight_decay", "X", "0.0", "decoupled weight decay (AdamW)"),
    Flag("eval_strategy", "epoch|steps|no", "epoch", "when to evaluate; with steps, every --eval_steps"),
    Flag(
        "eval_epochs",
        "N",
        "",
        "epochs between two evaluations (default: 1; about 20 evaluations if the number of epochs is chosen)",
    ),
    Flag("metric_for_best_model", "NAME", "accuracy", "metric that chooses the best model, which is kept"),
    Flag("fp16", "", "", "mixed precision in float16"),
    Flag("bf16", "", "", "mixed precision in bfloat16"),
    Flag("dataloader_num_workers", "N", "0", "extra processes that make batches"),
    Flag("seed", "N", "42", "seed of the head's weights, the order of the clips and a split that is made"),
)

OUTPUT_FLAGS = (
    Flag("output_dir", "DIR", "", "the run folder: model, labels, metrics, predictions, model card (required)"),
    Flag("save_total_limit", "N", "2", "checkpoints kept, the best one among them"),
    Flag("resume_from_checkpoint", "DIR", "", "go on from this checkpoint folder"),
    Flag("report_to", "NAME...", "none", "tensorboard, trackio, ...: where else the numbers go"),
    Flag("logging_steps", "X", "10", "steps between two lines of numbers"),
    Flag("push_to_hub", "", "", "upload the model, to --hub_model_id NAME"),
)

LABEL_SMOOTHING_FLAG = Flag(
    "label_smoothing_factor", "X", "0.0", "share of each target that is spread over all classes; 0.1 is usual"
)

CONFIG_FLAG = Flag("config", "FILE", "", "settings from a YAML or JSON file; flags override it")

_TRAIN_HEAD = """\
earmark train: train an audio classifier, evaluate it, write a run folder

usage: earmark train --data_dir DIR --model_name_or_path MODEL --output_dir DIR [flags]
       earmark train --config recipe.yaml [flags]
"""

_TRAIN_TAIL = """\
every other flag of Transformers' trainer works too: earmark train --help_all

examples
  class folders, a small network from scratch, on a laptop:
    earmark train --data_dir recordings --model_type tc_resnet --output_dir runs/first
  a recipe, with one setting changed:
    earmark train --config recipes/superb_ks_wav2vec2_base.yaml --data_dir speech_commands_v0.01 --seed 1
  the same on 8 devices:
    torchrun --nproc_per_node 8 -m earmark train --config recipes/superb_ks_wav2vec2_base.yaml
"""

_EVALUATE_HEAD = """\
earmark evaluate: score a trained model on labelled recordings

usage: earmark evaluate MODEL --data_dir DIR [flags]
       MODEL is a run folder, a model folder or a hub name
"""

_EVALUATE_TAIL = """\
data without a split of its own: the clips that the run held out are scored, by its splits.csv, whatever seed,
fraction, groups or folds it had. Clips of a given split that it was trained on are counted and marked

results go into evaluation_SPLIT in the model's folder; where an evaluation of other clips lies there, into
evaluation_SPLIT_2 and so on. --output_dir with one of other clips, or of another model, is refused

examples
  the test split of the folder it was trained on:
    earmark evaluate runs/first --data_dir recordings --split test
  with the data settings of its training:
    earmark evaluate runs/first --config recipes/superb_ks_wav2vec2_base.yaml --split test
"""

_CALIBRATE_HEAD = """\
earmark calibrate: fit what a model's probabilities mean, and below which it does not answer

usage: earmark calibrate RUN --data_dir DIR [flags]
       RUN is a run folder or a model folder, which gets a file decision.json
"""

_CALIBRATE_TAIL = """\
predict, evaluate, serve, export, push and Classifier use what decision.json says; without the file they
answer as before. `earmark train` has the same flags. What is printed is judged by cross-fitting: each
half of the clips by what was fitted on the other

examples
  earmark calibrate runs/first --data_dir recordings
  earmark calibrate runs/first --data_dir recordings --target_precision 0.95
  earmark calibrate runs/first --data_dir recordings --reject_class background --reject_false_accept_rate 0.05
"""

_PREDICT_HEAD = """\
earmark predict: label recordings

usage: earmark predict MODEL FILES_OR_FOLDERS... [flags]
       MODEL is a run folder, a model folder or a hub name
"""

_PREDICT_TAIL = """\
A recording that cannot be read does not stop the others: OUTPUT.bad_audio.csv lists the reason. The exit
code is 2 if none could be read or results could not be written. OUTPUT.earmark.json records the model and
the settings; --resume refuses to mix results of others with them

examples
  earmark predict runs/first new_recordings --output labels.csv
  earmark predict runs/first a.wav b.mp3 --top_k 3
  earmark predict runs/birds recordings --window_seconds 3 --hop_seconds 1 --threshold 0.7 --output heard.csv
  earmark predict runs/birds recordings --window_seconds 3 --format raven --output selections --resume
"""

_INSPECT_HEAD = """\
earmark inspect: what is in the data, and what is wrong with it, before anyone trains

usage: earmark inspect DATA_DIR [flags]
       earmark inspect --train_file train.csv --eval_file eval.csv [flags]
"""

_INSPECT_TAIL = """\
decodes every clip once at its own rate and tells: clips that cannot be read, are silent, quiet, clipped,
off centre, too short or too long; copies, also across splits and under two labels; groups (--group_column)
in two splits; classes missing, few or unbalanced; labels in two spellings; formats that give a label away

examples
  earmark inspect recordings
  earmark inspect recordings --output_dir inspection        # and a page with players
  earmark inspect tapes --unlabelled                        # recordings without labels, in folders or not
  earmark inspect recordings --strict true                  # exit code 2 when training would refuse it
"""

_AUGMENT_PREVIEW_HEAD = """\
earmark augment-preview: listen to and look at augmented clips before training

usage: earmark augment-preview DATA_DIR --augment KINDS --output_dir DIR [flags]
"""

_AUGMENT_PREVIEW_TAIL = """\
writes wav files, spectrograms.svg and preview.html with players: each clip as it is, and as training
with this --seed hears it in its first epochs: exactly, with the model named or --config RUN/run_config.yaml

examples
  earmark augment-preview recordings --augment noise --augment_noise rain --output_dir preview
  earmark augment-preview recordings --augment speed --model_name_or_path whisper --output_dir preview
"""

_PUSH_HEAD = """\
earmark push: put a trained model on the hub

usage: earmark push RUN ORG/NAME [flags]
"""

_PUSH_TAIL = """\
uploads weights, configuration, feature extractor, model card and metrics in one commit; settings,
predictions and logs stay here. HF_ENDPOINT names a mirror. Then, anywhere:
  earmark predict ORG/NAME recordings

examples
  earmark push runs/birds my-team/birds --private
"""

_EMBED_HEAD = """\
earmark embed: a vector for each recording, for search, clustering and small classifiers

usage: earmark embed MODEL FILES_OR_FOLDERS... --output FILE [flags]
       MODEL is a run folder, a model folder or a hub name; it needs a classifier's head, which is not used
"""

_EMBED_TAIL = """\
an embedding is the mean over time of the last hidden states, float32

examples
  earmark embed runs/birds tapes --output embeddings.parquet
  earmark embed runs/birds tapes --rows windows --window_seconds 3 --output embeddings.npy
"""

_LABEL_HEAD = """\
earmark label: review the recordings the model is least sure about and correct their labels in a browser

usage: earmark label FILES_OR_FOLDERS... --model MODEL [flags]
       earmark label FOLDER_OR_MANIFEST --model MODEL --check [flags]
       MODEL is a run folder, a model folder or a hub name
"""

_LABEL_TAIL = """\
proposals.csv has all recordings, most worth checking first; decisions made on the page are in labels.csv
at once, a manifest for `earmark train --train_file`. Ctrl-C ends it, and the same command continues

examples
  earmark label new_recordings --model runs/first
  earmark label recordings --model runs/first --check --output_dir checked      # labels that may be wrong
  earmark label new_recordings --model runs/first --page false                  # proposals.csv only
"""

_EXPORT_HEAD = """\
earmark export: a trained model as a file that other programs run, waveform in, probabilities out

usage: earmark export MODEL --output FOLDER [flags]
       MODEL is a run folder, a model folder or a hub name
"""

_EXPORT_TAIL = """\
the export is compared with PyTorch before it gets its name, and refused if it answers differently;
earmark predict, earmark evaluate and Classifier.from_pretrained take the folder in place of a model

examples
  earmark export runs/first --output first_onnx
  earmark export runs/first --format onnx-int8 --calibration recordings/validation --output first_int8
  earmark export runs/first --fixed_shape 1x1.0 --soc_version Ascend310P3 --output first_1x1
"""

_SERVE_HEAD = """\
earmark serve: a page to hear and label recordings, and answers over HTTP

usage: earmark serve MODEL [flags]
       MODEL is a run folder, a model folder, an export or a hub name
"""

_SERVE_TAIL = """\
/ is the page. POST /v1/classify and /v1/timeline (long recordings) take the bytes of a recording, a form with
a file, or JSON with the recording in base64 (Hugging Face's form); WS /v1/stream takes sound as it is recorded.
Also there: /healthz, /readyz, /metrics, /openapi.json

examples
  earmark serve runs/first
  curl --data-binary @a.wav http://127.0.0.1:8000/v1/classify?top_k=3
  EARMARK_SERVE_TOKEN=$(cat token) earmark serve runs/first --host 0.0.0.0
"""

_BENCH_HEAD = """\
earmark bench: measure this machine

usage: earmark bench data [flags]
       earmark bench train --model_name_or_path MODEL [flags]
       earmark bench infer --model_name_or_path MODEL [flags]

data   decode recordings into the store; store to batches, in this process and through DataLoader workers
train  training steps as `earmark train` takes them; preparation, evaluation and saving left out
infer  the loop that scores, from decoded samples to logits; decoding left out
"""

_BENCH_TAIL = """\
the clips and their store go into a temporary folder (TMPDIR) that is removed at the end

examples
  earmark bench data --num_clips 5000
  earmark bench train --model_type wav2vec2 --lengths lognormal:2.0,0.8,0.5,16 --json train.json
  earmark bench infer --model_name_or_path runs/first --data_dir recordings
"""


def train_help() -> str:
    """The page of ``earmark train``."""
    return _page(
        _TRAIN_HEAD,
        {
            "data": _flags(DataArguments),
            "model": _flags(ModelArguments),
            "training": TRAINING_FLAGS,
            "what clips count for": [LABEL_SMOOTHING_FLAG, *_flags(LossArguments)],
            "how the model answers, fitted on validation clips": _flags(DecisionArguments),
            "augmentation": _flags(AugmentArguments),
            "output": OUTPUT_FLAGS,
            "run": [CONFIG_FLAG, *_flags(RunArguments)],
        },
        _TRAIN_TAIL,
    )


def train_help_all() -> str:
    """Every flag of ``earmark train``, as argparse writes them. Imports Transformers and torch."""
    from earmark.cli.parsing import build_parser, train_classes

    text = build_parser(*train_classes()).format_help()
    return text[text.index("options:") :]


def evaluate_help() -> str:
    """The page of ``earmark evaluate``."""
    groups = {
        "evaluation": [*_own_flags(EvaluateOptions), CONFIG_FLAG],
        "data": _flags(DataArguments),
        "loading the model": _flags(PretrainedArguments),
    }
    return _page(_EVALUATE_HEAD, groups, _EVALUATE_TAIL)


def calibrate_help() -> str:
    """The page of ``earmark calibrate``."""
    fitted = {f.name for f in dataclasses.fields(DecisionArguments)}
    clips = [flag for flag in _own_flags(EvaluateOptions) if flag.name not in ("output_dir", "metric")]
    groups = {
        "what is fitted": [flag for flag in _flags(CalibrateOptions) if flag.name in fitted],
        "on which clips": [*clips, CONFIG_FLAG],
        "data": _flags(DataArguments),
        "loading the model": _flags(PretrainedArguments),
    }
    return _page(_CALIBRATE_HEAD, groups, _CALIBRATE_TAIL)


def inspect_help() -> str:
    """The page of ``earmark inspect``."""
    groups = {"inspection": [*_own_flags(InspectOptions), CONFIG_FLAG], "data": _flags(DataArguments)}
    return _page(_INSPECT_HEAD, groups, _INSPECT_TAIL)


def augment_preview_help() -> str:
    """The page of ``earmark augment-preview``."""
    groups = {
        "preview": [*_own_flags(AugmentPreviewOptions), CONFIG_FLAG],
        "augmentation": _flags(AugmentArguments),
        "model": _flags(ModelArguments),
        "data": _flags(DataArguments),
    }
    return _page(_AUGMENT_PREVIEW_HEAD, groups, _AUGMENT_PREVIEW_TAIL)


def predict_help() -> str:
    """The page of ``earmark predict``."""
    groups = {
        "prediction": [*_own_flags(PredictOptions), CONFIG_FLAG],
        "loading the model": _flags(PretrainedArguments),
    }
    return _page(_PREDICT_HEAD, groups, _PREDICT_TAIL)


def embed_help() -> str:
    """The page of ``earmark embed``."""
    groups = {
        "embeddings": [*_own_flags(EmbedOptions), CONFIG_FLAG],
        "loading the model": _flags(PretrainedArguments),
    }
    return _page(_EMBED_HEAD, groups, _EMBED_TAIL)


def label_help() -> str:
    """The page of ``earmark label``."""
    own = [flag for flag in _flags(LabelOptions) if flag.name == "model_name_or_path"]
    loading = [flag for flag in _flags(PretrainedArguments) if flag.name != "model_name_or_path"]
    groups = {"labelling": [*own, *_own_flags(LabelOptions), CONFIG_FLAG], "loading the model": loading}
    return _page(_LABEL_HEAD, groups, _LABEL_TAIL)


def push_help() -> str:
    """The page of ``earmark push``."""
    return _page(_PUSH_HEAD, {"upload": _flags(PushOptions)}, _PUSH_TAIL)


def export_help() -> str:
    """The page of ``earmark export``."""
    groups = {
        "export": [*_own_flags(ExportOptions), CONFIG_FLAG],
        "loading the model": _flags(PretrainedArguments),
    }
    return _page(_EXPORT_HEAD, groups, _EXPORT_TAIL)


def serve_help() -> str:
    """The page of ``earmark serve``."""
    groups = {
        "serving": [*_own_flags(ServeOptions), CONFIG_FLAG],
        "loading the model": _flags(PretrainedArguments),
    }
    return _page(_SERVE_HEAD, groups, _SERVE_TAIL)


def bench_help() -> str:
    """The page of ``earmark bench``."""
    groups = {"measurement": _own_flags(BenchOptions), "model (train, infer)": _flags(ModelArguments)}
    return _page(_BENCH_HEAD, groups, _BENCH_TAIL)


def page_of(options: type[Any], head: str, tail: str) -> str:
    """A page with the flags of one dataclass, and ``--config``."""
    return _page(head, {"flags": [*_flags(options), CONFIG_FLAG]}, tail)


def _page(head: str, groups: Mapping[str, Sequence[Flag]], tail: str) -> str:
    width = max(60, min(100, shutil.get_terminal_size((100, 24)).columns))
    parts = [head]
    for title, flags in groups.items():
        parts.append("\n".join([title, *(_entry(flag, width) for flag in flags)]) + "\n")
    return "\n".join([*parts, tail]).rstrip()


def _entry(flag: Flag, width: int) -> str:
    default = f" (default: {flag.default})" if flag.default else ""
    text = textwrap.fill(
        flag.text + default, width, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False
    )
    return f"  --{flag.name} {flag.metavar}".rstrip() + f"\n{text}"


def _flags(cls: type[Any]) -> list[Flag]:
    """The flags of a dataclass, in its order."""
    hints = get_type_hints(cls)
    fields = [f for f in dataclasses.fields(cls) if f.name not in _GIVEN_AS_WORDS]
    return [_flag(f, hints[f.name]) for f in fields]


def _own_flags(cls: type[Any]) -> list[Flag]:
    """The flags of a dataclass without those it inherits."""
    inherited = {f.name for base in cls.__bases__ for f in dataclasses.fields(base)}
    return [flag for flag in _flags(cls) if flag.name not in inherited]


def _flag(field: dataclasses.Field[Any], hint: Any) -> Flag:
    text = field.metadata["help"]
    unsaid = any(field.default is nothing for nothing in (None, False, dataclasses.MISSING))  # 0 is said
    shown = not unsaid and "(default:" not in text
    default = str(field.default).lower() if field.default is True else str(field.default)
    return Flag(field.name, _metavar(field, hint), default if shown else "", text)


def _metavar(field: dataclasses.Field[Any], hint: Any) -> str:
    choices = [hint, *get_args(hint)]
    literal = next((choice for choice in choices if get_origin(choice) is Literal), None)
    if literal is not None:
        return "|".join(get_args(literal))
    if hint is bool:
        return "true|false" if field.default else ""
    number = next((_METAVAR[choice] for choice in choices if choice in _METAVAR), None)
    return number or field.name.rsplit("_", 1)[-1].upper()
