"""Profile training and prediction: a trace, the time of each part of the model, and what bounds the run."""
