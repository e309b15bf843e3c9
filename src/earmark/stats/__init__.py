"""Statistics of figures: intervals, tests, thresholds. Plain numpy; nothing here knows a task or a model."""
