"""From a table of clips to batches of model inputs."""
