"""Training: a thin Trainer, the rates and batches it runs with, and the run folder it leaves behind."""

import sys

from earmark import CallablePackage

sys.modules[__name__].__class__ = CallablePackage  # the name is also that of a public function
