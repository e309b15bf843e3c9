"""Judge a trained model on labelled recordings."""

import sys

from earmark import CallablePackage

sys.modules[__name__].__class__ = CallablePackage  # the name is also that of a public function
