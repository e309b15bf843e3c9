"""What differs between architectures, one file each. ``registry.py`` finds the family of a configuration."""
