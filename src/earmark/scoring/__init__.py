"""Score waveforms with a model, and compute figures from logits."""
