"""Sphinx: the pages of this folder, and the API reference from docstrings; see ``make docs``."""

from lsnet_mm import __version__

project = "lsnet_mm"
release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]

html_theme = "furo"  # asks nothing of the network
html_title = f"lsnet_mm {release}"
html_show_copyright = html_show_sphinx = html_copy_source = False

# Links within and between pages are checked, and every name that a docstring refers to; those of
# other libraries have no page here.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(argparse|collections|mmengine|mmpretrain|numpy|pathlib|PIL|torch)\..*")
]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
