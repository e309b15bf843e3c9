"""The public Python API: the commands as functions and objects. :mod:`earmark` exports its names."""
