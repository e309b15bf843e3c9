"""Build models with body, head and frontend from a checkpoint folder, the hub, or random weights."""
