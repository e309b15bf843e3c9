"""The private names of Transformers' Trainer that earmark needs, and a check that the installed version has them."""

from __future__ import annotations

import transformers

from earmark.errors import UsageError

# Everything of Transformers' Trainer that earmark overrides or reads and that is not public: any release may rename it.
PRIVATE_NAMES = ("_determine_best_metric", "_save_checkpoint", "_train_batch_size")
_ATTRIBUTES = {"_train_batch_size"}  # these of them exist once a Trainer is made


def check_transformers() -> None:
    """Check that the installed Transformers has the private methods that earmark overrides.

    Raises:
        UsageError: a method is missing, because this version has renamed it.
    """
    missing = [name for name in PRIVATE_NAMES if name not in _ATTRIBUTES and not hasattr(transformers.Trainer, name)]
    if missing:
        raise UsageError(
            f"transformers {transformers.__version__}: Trainer has no {' and no '.join(missing)}, which earmark "
            "overrides. Upgrade earmark, or install an earlier transformers."
        )
