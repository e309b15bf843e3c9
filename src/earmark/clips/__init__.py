"""The table of clips: columns, targets, splits, folds."""
