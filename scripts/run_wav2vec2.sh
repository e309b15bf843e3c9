#!/usr/bin/env bash
# Fine-tune wav2vec2-base for SUPERB keyword spotting on the cards of this machine: the settings of the Ascend port
# of Transformers' audio classification example, with the flags that replace its old ones.
#
#   DATA_DIR=speech_commands_v0.01 bash scripts/run_wav2vec2.sh                                8 cards
#   NPROC=1 DATA_DIR=speech_commands_v0.01 bash scripts/run_wav2vec2.sh --num_train_epochs 1
#
# DATA_DIR    the Speech Commands archive, extracted or as .tar.gz, or the folder that holds it (required)
# MODEL       folder or hub name of the weights (the folder wav2vec2-base beside run_audio_classification.py, else
#             facebook/wav2vec2-base, which is downloaded)
# NPROC       cards to use (8)
# ACCUMULATION  batches of 32 clips that each card adds up in a step (4)
# OUTPUT_DIR  run folder (./output)
# LOG_FILE    copy of everything printed (OUTPUT_DIR.log)
# PYTHON      interpreter in which earmark is installed (python3)
# Arguments are added to the flags and override them.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

NPROC=${NPROC:-8}
PYTHON=${PYTHON:-python3}
OUTPUT_DIR=${OUTPUT_DIR:-./output}
LOG_FILE=${LOG_FILE:-${OUTPUT_DIR%/}.log}
if [[ -z ${MODEL:-} ]]; then
  MODEL=facebook/wav2vec2-base
  if [[ -d $root/wav2vec2-base ]]; then MODEL=$root/wav2vec2-base; fi
fi
data=(--dataset_name superb --dataset_config_name ks)
if [[ -n ${DATA_DIR:-} ]]; then
  data+=(--data_dir "$DATA_DIR")
elif [[ " $* " != *" --data_dir"* ]]; then
  echo "DATA_DIR: not set. Download speech_commands_v0.01.tar.gz, and set DATA_DIR to the archive or its folder." >&2
  exit 2
fi
flags=(
  --model_name_or_path "$MODEL"
  "${data[@]}"
  --remove_unused_columns False
  --do_train
  --do_eval
  --learning_rate 3e-5
  --max_length_seconds 1
  --attention_mask False
  --warmup_steps 0.1  # below 1: a fraction of all steps
  --num_train_epochs 5
  --per_device_train_batch_size 32
  --gradient_accumulation_steps "${ACCUMULATION:-4}"
  --per_device_eval_batch_size 32
  --dataloader_num_workers 4
  --logging_strategy steps
  --logging_steps 10
  --eval_strategy epoch
  --save_strategy epoch
  --load_best_model_at_end True
  --metric_for_best_model accuracy
  --save_total_limit 3
  --seed 0
  --overwrite_output_dir
  --output_dir "$OUTPUT_DIR"
  "$@"
)

# One process checks the data folder and finds or downloads the weights; otherwise every card would report the error.
"$PYTHON" -c '
import sys

from earmark.cli.main import guarded
from earmark.extras import require_training
from earmark.models.model_source import model_source
from earmark.settings.train_settings import check_sources, parse_example


def check() -> None:
    require_training("run_audio_classification.py")
    settings = parse_example(sys.argv[1:])
    check_sources(settings.data)
    model_source(settings.model).folder()


sys.exit(guarded(check, debug=False))
' "${flags[@]}"

echo "model: $MODEL; data: ${DATA_DIR:-as in the flags}; processes: $NPROC; log: $LOG_FILE"
mkdir -p "$(dirname "$LOG_FILE")"
status=0
# With pipefail the status of the pipe is the run's, not tee's.
"$PYTHON" -m torch.distributed.run --nproc_per_node "$NPROC" "$root/run_audio_classification.py" \
  "${flags[@]}" 2>&1 | tee "$LOG_FILE" || status=$?
echo "end to end: $SECONDS s, exit code: $status" | tee -a "$LOG_FILE"
exit "$status"
