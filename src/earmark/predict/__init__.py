"""Labels for recordings: the public class, and files and folders from the command line."""
