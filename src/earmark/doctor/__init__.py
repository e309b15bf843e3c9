"""``earmark doctor``: diagnose this machine, even if torch cannot be imported."""
