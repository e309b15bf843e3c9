"""Evaluate a trained model on labelled recordings."""

import sys

from earmark import CallablePackage

sys.modules[__name__].__class__ = CallablePackage  # earmark.evaluate is also a public function
