"""Load what a user names (folders, manifests, data sets) as tables of clips."""
