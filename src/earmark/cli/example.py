"""``python -m earmark.cli.example``: ``run_audio_classification.py`` as a module."""

from __future__ import annotations

import sys

from earmark.cli.main import run_example

if __name__ == "__main__":
    sys.exit(run_example())
