"""``earmark inspect``: what is in the data, and what is wrong with it, before anyone trains on it."""
