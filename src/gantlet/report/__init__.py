"""Report blocks and their renderers: terminal, HTML, Markdown, LaTeX, CSV, JSON.

``blocks`` is what a report is made of, ``render`` turns it into any format, ``terminal.show``
prints the short form, ``json`` is the long memory.
"""
