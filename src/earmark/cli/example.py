"""``python -m earmark.cli.example``: what ``run_audio_classification.py`` does, where that file is not at hand."""

from __future__ import annotations

import sys

from earmark.cli.main import run_example

if __name__ == "__main__":
    sys.exit(run_example())
