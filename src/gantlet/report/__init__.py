"""Blocks, and what renders them: terminal, HTML, Markdown, LaTeX, CSV, JSON."""
