"""The processes of a distributed run: who they are, how they start, and what they do for each other."""
