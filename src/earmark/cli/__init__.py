"""The command line: one small module a command, which parses, calls one function and prints."""
