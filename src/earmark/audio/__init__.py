"""From files to samples: containers, decoders, blocks."""
