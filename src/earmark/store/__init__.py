"""Decoded samples on disk, and clips that can be used."""
