"""Tables of clips: columns, targets, splits, folds."""
