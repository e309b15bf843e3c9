"""``earmark serve``: a trained model behind HTTP. Requests share batches; limits hold while bytes still arrive."""
