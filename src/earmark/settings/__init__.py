"""The settings behind flags, configuration files and keyword arguments. Imports neither torch nor Transformers.

Each flag is declared once, as a field of a dataclass (:func:`earmark.settings.flags.flag`), with its type, default,
help, check and scope. Parsing, help pages, files, early errors and all comparisons of settings follow from it.
"""
