"""Atomic files, file locks, hashes and errors of the operating system."""
