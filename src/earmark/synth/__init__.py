"""A synthetic corpus of spoken words."""
