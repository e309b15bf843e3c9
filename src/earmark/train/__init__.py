"""Training: the trainer, its learning rates and batches, and the run folder that it writes."""

import sys

from earmark import CallablePackage

sys.modules[__name__].__class__ = CallablePackage  # because earmark.train is also a public function
