"""Files: whole or not there, locked by one process at a time, known by their hash."""
