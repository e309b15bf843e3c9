"""The names of Transformers' Trainer that earmark needs, and a check that the installed version has them."""

from __future__ import annotations

import transformers

from earmark.errors import UsageError

# The private names of Transformers' Trainer that earmark overrides or reads. Any release may rename them.
PRIVATE_NAMES = ("_determine_best_metric", "_save_checkpoint", "_train_batch_size")
# The public methods that earmark overrides. Trainer would not call one that a release has renamed.
PUBLIC_METHODS = (
    *("train", "set_initial_training_values", "create_optimizer", "get_train_dataloader", "training_step"),
    *("compute_loss", "floating_point_ops", "evaluate", "log", "save_model"),
)
_ATTRIBUTES = {"_train_batch_size"}  # attributes of instances, which the class does not have


def check_transformers() -> None:
    """Check that the installed Transformers has the methods that earmark overrides.

    Raises:
        UsageError: a method is missing, because this version has renamed it.
    """
    needed = [name for name in (*PRIVATE_NAMES, *PUBLIC_METHODS) if name not in _ATTRIBUTES]
    missing = [name for name in needed if not hasattr(transformers.Trainer, name)]
    if missing:
        raise UsageError(
            f"transformers {transformers.__version__}: Trainer has no {' and no '.join(missing)}, which earmark "
            "overrides. Upgrade earmark, or install an earlier transformers."
        )
