"""``earmark label``: sort recordings by how unsure a model is about them, and label them on a page."""
