"""Predict labels of recordings: the public class, and files and folders from the command line."""
