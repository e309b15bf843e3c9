"""``earmark doctor``: what is wrong with this machine, in words, even where torch cannot be imported."""
