"""Formats of tables of clips and of results, one file each: how a format is read and how it is written."""
