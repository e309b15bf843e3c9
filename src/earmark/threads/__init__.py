"""CPU threads: how many a process computes with, and how they wait for each other on a busy machine."""
