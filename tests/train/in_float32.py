"""``python -m tests.train.in_float32 train ...``: as on a CPU without bfloat16, for exact comparisons."""

from __future__ import annotations

import sys

from earmark import device
from earmark.cli.main import main

if __name__ == "__main__":
    device.supports_bf16 = lambda _: False
    sys.exit(main(sys.argv[1:]))
