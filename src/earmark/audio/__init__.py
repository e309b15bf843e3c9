"""Decode recordings: containers, decoders, blocks of samples."""
