"""Body, head and frontend: from a checkpoint folder, the hub, or random weights."""
