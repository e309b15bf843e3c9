"""Compute confidence intervals, significance tests and thresholds with NumPy, independent of tasks and models."""
