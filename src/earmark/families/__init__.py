"""One file per family of architectures, with everything specific to it. ``family_registry.py`` finds the family."""
