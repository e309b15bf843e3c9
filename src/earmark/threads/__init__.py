"""CPU threads: how many compute, and how they wait for each other on a busy machine."""
