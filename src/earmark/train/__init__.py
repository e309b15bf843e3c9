"""Training: a thin Trainer, the rates and batches it runs with, and the run folder it leaves behind."""
