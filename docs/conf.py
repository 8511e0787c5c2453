"""Settings of the documentation, built by ``make docs``."""

from gantlet import __version__

project = "Gantlet"
author = "The Gantlet authors"
copyright = author  # noqa: A001  (Sphinx's name for it)
release = __version__
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Gantlet {__version__}"
