"""Write and read run folders, the output of training and evaluation."""
