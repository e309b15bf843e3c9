"""``earmark serve``: a trained model behind HTTP. Requests share batches, and limits apply while bytes arrive."""
