"""Sphinx configuration. Pages about operations and modules are written from the code as the build starts."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from mlcore import _version  # noqa: E402

project = "mlcore"
author = "The mlcore authors"
copyright = "The mlcore authors"
version = release = _version.__version__

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = f"mlcore {release}"
html_copy_source = False
html_show_sphinx = False


def write_pages(app: Sphinx) -> None:
    """Write the generated pages into docs/_generated before Sphinx looks for sources."""
    import generate

    generate.write(HERE / "_generated")


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_pages)
