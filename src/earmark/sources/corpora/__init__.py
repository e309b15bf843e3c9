"""Public data sets in their published layout, one file each, and the code that writes manifests of them."""
