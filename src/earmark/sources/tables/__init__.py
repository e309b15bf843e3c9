"""Tables of clips. A format reads a file into a ``Sheet``, and ``build_clips.py`` converts it to clips."""
