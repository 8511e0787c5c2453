"""Settings of the documentation, built by ``make docs``."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # where mathml.py and gallery.py are

from gantlet import __version__

project = "Gantlet"
author = "The Gantlet developers"
copyright = author  # noqa: A001  (Sphinx's name for it)
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "gallery", "mathml"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_custom_sections = ["Source", "Differs from the paper"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
highlight_language = "text"
html_theme = "furo"
html_title = f"Gantlet {__version__}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["page.css"]
