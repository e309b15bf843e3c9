"""The public Python API: what the commands do, as functions and objects. :mod:`earmark` exports its names."""
