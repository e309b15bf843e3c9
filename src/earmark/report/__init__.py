"""The figures of a scored split as a page to look at and listen to, and runs held against each other."""
