"""Write a checkpoint folder with random weights, to measure speed without a pretrained checkpoint.

    python benchmarks/make_model.py wav2vec2 OUT                       # base size: 12 layers, width 768
    python benchmarks/make_model.py whisper OUT --max_length_seconds 1 # encoder cut to 1 s
    python benchmarks/make_model.py wav2vec2 OUT --config_overrides num_hidden_layers=2

OUT holds config.json, model.safetensors and preprocessor_config.json, so both earmark and plain Transformers can load
it. Its labels are the classes of make_clips.py. The speed of a model does not depend on the values of its weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import transformers
from make_clips import TONES_HZ

from earmark.errors import EarmarkError
from earmark.models.build_model import ModelSource, build_for_training

_LONGEST_S = 30.0  # longest input of the model without --max_length_seconds, in seconds


def main() -> None:
    """Parse the command line and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_type", help="wav2vec2, hubert, wavlm, whisper, audio-spectrogram-transformer, ...")
    parser.add_argument("out", type=Path, help="folder to write, which must not exist yet")
    parser.add_argument(
        "--config_overrides",
        help="changes to the configuration: hidden_size=32,num_hidden_layers=2 or a JSON object",
    )
    parser.add_argument("--max_length_seconds", type=float, help="cut Whisper and AST to clips of this length")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights (default: %(default)s)")
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"{args.out}: already exists. Name another folder.")
    transformers.set_seed(args.seed)
    source = ModelSource(model_type=args.model_type, config_overrides=args.config_overrides)
    try:
        audio = build_for_training(source, list(TONES_HZ), args.max_length_seconds, _LONGEST_S)
    except EarmarkError as exc:
        sys.exit(f"make_model.py: error: {exc}")
    audio.save(args.out)
    count = sum(parameter.numel() for parameter in audio.model.parameters())
    print(f"{args.out}: {type(audio.model).__name__}, {count:,} parameters")


if __name__ == "__main__":
    main()
