"""HTTP servers of this project: the socket, who may ask, checks and records of every request, the end."""
