#!/usr/bin/env bash
# Fine-tune wav2vec2-base for SUPERB keyword spotting with about 128 clips in every step, on 1 to 8 cards.
#
# run_wav2vec2.sh, the published recipe, takes 1,024 clips a step on 8 cards. Its 5 epochs are then 250 steps at a rate
# that was chosen for 2,000, and the model learns nothing. This script keeps the rate and the epochs and divides 128
# clips a step among the cards, so the result does not depend on the number of cards.
#
#   DATA_DIR=speech_commands_v0.01 bash scripts/run_wav2vec2_tuned.sh           8 cards
#   NPROC=1 DATA_DIR=speech_commands_v0.01 bash scripts/run_wav2vec2_tuned.sh
#
# Takes the variables of run_wav2vec2.sh except ACCUMULATION; the run folder is ./output_tuned.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

export NPROC=${NPROC:-8} OUTPUT_DIR=${OUTPUT_DIR:-./output_tuned} ACCUMULATION=1
clips=$((128 / NPROC * NPROC))  # every card takes the same number of clips: 126 on 3, 6 or 7 cards, 125 on 5
exec bash "$root/scripts/run_wav2vec2.sh" --global_batch_size "$clips" "$@"
