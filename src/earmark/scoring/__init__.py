"""Score waveforms with a model, and compute metrics from logits."""
