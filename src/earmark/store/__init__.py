"""Decoded samples on disk, and the check for unusable clips."""
