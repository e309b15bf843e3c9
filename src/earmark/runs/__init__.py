"""The run folder: what training and evaluation leave behind, and how it is read again."""
