"""Judge a trained model on labelled recordings."""
