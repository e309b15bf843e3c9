"""Start the processes of a distributed run and let them work together."""
