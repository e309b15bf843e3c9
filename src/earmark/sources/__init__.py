"""From what a user gives to a table of clips."""
