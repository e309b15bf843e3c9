"""Show what a data set contains and what is wrong with it, before training (``earmark inspect``)."""
