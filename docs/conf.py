"""Build the site: `uv run --group docs sphinx-build -W docs docs/_build`, then open docs/_build/index.html."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

sys.path.insert(0, str(Path(__file__).parent))

import reference_pages
import site_pages

project = "sweeplab"
author = "the authors of sweeplab"
version = release = installed_version("sweeplab")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4  # links to headings, as in GitHub's view

smartquotes = False  # what is typed has straight ones
default_role = "code"  # what stands in backticks in a docstring
autodoc_member_order = "bysource"
reference_pages.name_publicly()
python_display_short_literal_types = True

# Links into the documentation of other libraries need their inventories, which are fetched. The
# build is the same where there is no network: DOCS_INTERSPHINX=1 in the environment asks for them.
if os.environ.get("DOCS_INTERSPHINX") == "1":
    extensions.append("sphinx.ext.intersphinx")
intersphinx_mapping = {
    "mlflow": ("https://mlflow.org/docs/latest/api_reference", None),
    "omegaconf": ("https://omegaconf.readthedocs.io/en/latest", None),
    "python": ("https://docs.python.org/3", None),
    "torch": ("https://docs.pytorch.org/docs/stable", None),
}

html_theme = "furo"
html_title = "sweeplab"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
toc_object_entries = False  # the reference has hundreds
html_math_renderer = "mathml"


def inline_math(self: Any, node: Any) -> None:
    """Write a formula as MathML, which browsers draw without a script."""
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_math(self: Any, node: Any) -> None:
    """Write a formula on a line of its own."""
    self.body.append(f'<div class="formula">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Have the pages that are made found before Sphinx looks for pages."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("config-inited", lambda app, _: site_pages.write(Path(app.srcdir)))
    app.connect("source-read", site_pages.relink_source)
