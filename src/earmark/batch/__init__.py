"""Make batches of model inputs from a table of clips."""
