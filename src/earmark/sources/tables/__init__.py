"""Tables of clips: each format has a file that reads it into a ``Sheet``, and ``build.py`` makes clips of that."""
