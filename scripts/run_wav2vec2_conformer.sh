#!/usr/bin/env bash
# The recipe of run_wav2vec2.sh with wav2vec2-conformer-rel-pos-large in float16. torch's mixed precision replaces the
# apex flags of the Ascend port.
#
#   DATA_DIR=speech_commands_v0.01 bash scripts/run_wav2vec2_conformer.sh                                8 cards
#   NPROC=1 DATA_DIR=speech_commands_v0.01 bash scripts/run_wav2vec2_conformer.sh --num_train_epochs 1
#
# Takes the same variables as run_wav2vec2.sh. The weights come from the folder wav2vec2-conformer-rel-pos-large beside
# run_audio_classification.py, or else from the hub; the run folder is ./output_conformer.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [[ -z ${MODEL:-} ]]; then
  MODEL=facebook/wav2vec2-conformer-rel-pos-large
  if [[ -d $root/${MODEL#facebook/} ]]; then MODEL=$root/${MODEL#facebook/}; fi
fi
export MODEL OUTPUT_DIR=${OUTPUT_DIR:-./output_conformer}
exec bash "$root/scripts/run_wav2vec2.sh" --fp16 "$@"
