"""Writes formulas as MathML: every browser shows it, without a script and without network."""

import re

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

BAR = '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;</mo>'
# Where the converter says letter and TeX says operator, and the other way round.
REPAIRS = {
    '<mo stretchy="false">&#x0007C;</mo>': BAR,
    "<mo>&#x0007C;</mo>": BAR,
    "<mi>&#x0007E;</mi>": "<mo>&#x0223C;</mo>",
    "<mi>&#x000B1;</mi>": "<mo>&#x000B1;</mo>",
}
NAME = "<mi>(?:cos|log|sin|tanh)</mi>"
SPACE = '<mspace width="0.167em" />'
# A thin space parts a function from what it follows and, without a bracket, from its argument.
BEFORE = re.compile(f"(?<=</mi>)(?={NAME})|(?<=</msub>)(?={NAME})")
AFTER = re.compile(f"({NAME})(?!<mo [^>]*>&#x00028;)")


def mathml(node: nodes.Node, display: str) -> str:
    made = convert(node.astext(), display=display)
    if "\\" in made:
        logging.getLogger(__name__).warning("not understood: %s", node.astext(), location=node)
    for wrong, right in REPAIRS.items():
        made = made.replace(wrong, right)
    return AFTER.sub(rf"\1{SPACE}", BEFORE.sub(SPACE, made))


def inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(mathml(node, "inline"))
    raise nodes.SkipNode


def block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{mathml(node, "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
