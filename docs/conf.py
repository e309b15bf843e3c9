"""Settings of the documentation, for Sphinx. ``scripts/docs`` builds it into ``build/docs``."""

from __future__ import annotations

import sys
from pathlib import Path

from earmark import __version__

DOCS = Path(__file__).parent

project = "earmark"
version = release = __version__
project_copyright = "the earmark authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["images"]

# Markdown: anchors as on GitHub, and links to headings are checked.
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

# Python: argument types are shown in the descriptions of the arguments.
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "separated"  # users get these objects from functions and do not call the classes
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "earmark"
html_static_path = ["static"]
html_css_files = ["earmark.css"]
html_copy_source = False
html_show_sphinx = False


def setup(app: object) -> None:
    """Write the generated pages before Sphinx looks for pages."""
    sys.path.insert(0, str(DOCS))
    from reference_pages import write_pages

    write_pages(DOCS)
