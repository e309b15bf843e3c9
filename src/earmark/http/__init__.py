"""Shared parts of the HTTP servers: socket, origin checks, request limits, logging and shutdown."""
