"""``python -m earmark``, and ``torchrun -m earmark`` for many devices."""

import sys

from earmark.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
