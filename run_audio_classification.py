"""The command line of Transformers' audio classification example; see ``earmark train --help``."""

from earmark.cli.main import run_example

if __name__ == "__main__":
    raise SystemExit(run_example())
