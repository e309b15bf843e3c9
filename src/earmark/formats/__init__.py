"""Formats of tables of clips and of results, one file each with its reader and writer."""
