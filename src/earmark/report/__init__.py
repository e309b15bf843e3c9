"""Write report pages about a run, and compare several runs."""
