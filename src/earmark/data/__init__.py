"""From whatever people have to a table of clips, and from a clip to samples."""
