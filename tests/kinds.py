"""A space of each kind of sample that has families of its own."""

from gantlet.core.data import Part, Space

TOKENS = Space("tokens", (12,), 5)
# Families of one kind of sample alone, and a space of it; all others model vectors and images.
WALK = Space("walk", (6,), 9)
SOUNDS = Space("audio", (1, 300))
TABLE = Space(
    "table",
    (8,),
    parts=(
        Part("number"),
        Part("category", 3),
        Part("number"),
        Part("flag"),
        Part("number"),
        Part("flag"),
    ),
)
GRAPHS = Space("graph", (7, 7), 2)
ONE_KIND: dict[str, Space] = {
    "cell": WALK,
    "codec": SOUNDS,
    "copula": TABLE,
    "dc-sbm": WALK,
    "degree-matched": GRAPHS,
    "erdos-renyi": GRAPHS,
    "graph-ar": GRAPHS,
    "graph-gan": GRAPHS,
    "independent": TABLE,
    "lm": WALK,
    "mask-gan": WALK,
    "netgan": WALK,
    "ngram": TOKENS,
    "rewire": WALK,
    "scratch-gan": Space("tokens", (8,), 9),
    "spec-gan": SOUNDS,
    "table-gan": TABLE,
    "text-gan": WALK,
    "tree-chain": TABLE,
    "wave-gan": SOUNDS,
    "wavenet": SOUNDS,
}
