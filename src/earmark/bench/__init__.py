"""Measure the speed of this machine: ``earmark bench data``, ``train`` and ``infer``."""
