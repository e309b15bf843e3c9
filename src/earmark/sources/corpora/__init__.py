"""Public data sets in the layout they are published in, one file each, and what makes manifests of them."""
