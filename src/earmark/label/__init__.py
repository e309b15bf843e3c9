"""``earmark label``: what a model thinks of recordings, most worth checking first, and a page to put it right."""
