"""``earmark label``: sort recordings by how unsure a model is about them, and correct its labels on a page."""
