#!/usr/bin/env bash
# Fine-tune wav2vec2-base for SUPERB keyword spotting on the cards of this machine: the recipe of the Ascend port
# of Transformers' audio classification example, flag for flag.
#
#   bash scripts/run_wav2vec2.sh                                  8 cards, weights and data set from the hub
#   NPROC=1 DATA_DIR=speech_commands_v0.01 bash scripts/run_wav2vec2.sh --num_train_epochs 1
#
# NPROC       cards to use (8)
# MODEL       folder or hub name (the folder wav2vec2-base beside run_audio_classification.py, else the hub's)
# DATA_DIR    folder with the extracted Speech Commands archive (none: the hub)
# OUTPUT_DIR  run folder (./output)
# LOG_FILE    copy of everything printed (OUTPUT_DIR.log)
# PYTHON      interpreter in which earmark is installed (python3)
# Words after the script's name are added to the flags and win over them.
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
if [[ -n ${DATA_DIR:-} ]]; then data+=(--data_dir "$DATA_DIR"); fi
echo "model: $MODEL; data: ${DATA_DIR:-superb ks from the hub}; processes: $NPROC; log: $LOG_FILE"

mkdir -p "$(dirname "$LOG_FILE")"
status=0
# With pipefail the status of the pipe is the run's, not tee's.
"$PYTHON" -m torch.distributed.run --nproc_per_node "$NPROC" "$root/run_audio_classification.py" \
  --model_name_or_path "$MODEL" \
  "${data[@]}" \
  --remove_unused_columns False \
  --do_train \
  --do_eval \
  --learning_rate 3e-5 \
  --max_length_seconds 1 \
  --attention_mask False \
  --warmup_ratio 0.1 \
  --num_train_epochs 5 \
  --per_device_train_batch_size 32 \
  --gradient_accumulation_steps 4 \
  --per_device_eval_batch_size 32 \
  --dataloader_num_workers 4 \
  --logging_strategy steps \
  --logging_steps 10 \
  --evaluation_strategy epoch \
  --save_strategy epoch \
  --load_best_model_at_end True \
  --metric_for_best_model accuracy \
  --save_total_limit 3 \
  --seed 0 \
  --overwrite_output_dir \
  --output_dir "$OUTPUT_DIR" \
  "$@" 2>&1 | tee "$LOG_FILE" || status=$?
echo "end to end: $SECONDS s, exit code: $status" | tee -a "$LOG_FILE"
exit "$status"
