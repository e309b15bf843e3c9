"""From a model and waveforms to logits, and from logits to numbers."""
