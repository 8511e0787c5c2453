"""Measurements of single lines of text that have a name."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from gantlet.critics.word import Probes, Word, haze, probes, word
from gantlet.data.words import END, FIRST, UNKNOWN, TextCode

# So many of the commonest tokens have a share of their own.
_COMMON = 24
_ENDS = frozenset(".!?…")
# A share that no real line has counts as if its deviation were this.
_SMALL = 0.01


def text_probes(code: TextCode, x: Tensor) -> Probes:
    """Returns measurements of lines, shape ``(n, length)``.

    All shares are of the tokens of a line. Only what other lines tell of a line is measured by
    the code, and only where it rests on many of them.

    Args:
        code: The tokens of the real text.
        x: Levels.
    """
    x = x.long()
    n = (x != END).sum(1).double()
    measured = {
        word("length", "too short", "too long"): n.log1p(),
        **_repeats(x, n),
        **_spelling(code, x, n),
        **_order(code, x, n),
    }
    for i, token in enumerate(code.tokens[:_COMMON]):
        name = f"{code.unit} {token!r}"
        common = word(f"share of the {name}", f"{name} too rare", f"{name} too frequent", name)
        measured[common] = (x == i + FIRST).sum(1) / n.clamp_min(1)
    return probes(measured)


def _where(x: Tensor, flags: Sequence[bool]) -> Tensor:
    """Returns where tokens with a flag stand, shape ``(n, length)``."""
    return torch.tensor([False] * FIRST + [*flags], device=x.device)[x]


def _repeats(x: Tensor, n: Tensor) -> dict[Word, Tensor]:
    """Returns how much of a line was in it before: tokens, and phrases of two.

    Two unknown tokens need not be the same.
    """
    known = (x != END) & (x != UNKNOWN)
    again = _seen_before(x, known)
    # One number for each pair; those of the end of a line are left out.
    pairs = x[:, :-1] * (int(x.max()) + 1 if x.numel() else 1) + x[:, 1:]
    phrases = _seen_before(pairs, known[:, 1:] & known[:, :-1])
    twice = (x[:, 1:] == x[:, :-1]) & known[:, 1:]
    topic = "repetition"
    few, many = "too few different words", "too many different words"
    return {
        word("repeated phrases", "too few repeated phrases", "repeated phrases", topic): (
            phrases.sum(1) / (n - 1).clamp_min(1) + haze(x, _SMALL)
        ),
        word("variety", few, many, topic): (1 - again.sum(1) / n.clamp_min(1)),
        word(
            "tokens twice in a row", "nothing twice in a row", "the same twice in a row", topic
        ): (twice.sum(1) / (n - 1).clamp_min(1) + haze(x, _SMALL)),
    }


def _seen_before(x: Tensor, counted: Tensor) -> Tensor:
    """Returns where a row holds what it held before, among the places that count."""
    order = x.masked_fill(~counted, -1).sort(dim=1, stable=True)
    same = torch.zeros_like(counted)
    same[:, 1:] = (order.values[:, 1:] == order.values[:, :-1]) & (order.values[:, 1:] >= 0)
    return torch.zeros_like(same).scatter(1, order.indices, same)


def _spelling(code: TextCode, x: Tensor, n: Tensor) -> dict[Word, Tensor]:
    """Returns what the characters of tokens tell."""
    tokens, whole = code.tokens, n.clamp_min(1)

    def share(flags: Sequence[bool]) -> Tensor:
        return _where(x, flags).sum(1) / whole

    found: dict[Word, Tensor] = {}
    if code.words:
        sizes = torch.tensor([0.0] * FIRST + [float(len(t)) for t in tokens], device=x.device)
        is_word = _where(x, [t[0].isalnum() for t in tokens])
        mean = (sizes[x] * is_word).sum(1) / is_word.sum(1).clamp_min(1)
        found[word("word length", "words too short", "words too long")] = mean
    marks = [not any(map(str.isalnum, t)) and not t.isspace() for t in tokens]
    last = x.gather(1, (n.long() - 1).clamp_min(0)[:, None])
    ends = _where(last, [t in _ENDS for t in tokens])[:, 0].double()
    unknown = (x == UNKNOWN).sum(1) / whole
    unit = f"{code.unit}s"
    return found | {
        word("punctuation", "too little punctuation", "too much punctuation"): (
            share(marks) + haze(x, _SMALL)
        ),
        word("capitals", "capitals missing", "too many capitals"): (
            share([t[0].isupper() for t in tokens]) + haze(x, _SMALL)
        ),
        word("digits", "too few numbers", "too many numbers"): (
            share([t[0].isdigit() for t in tokens]) + haze(x, _SMALL)
        ),
        word("sentence end", "sentences without an end", "too often a sentence end"): (
            ends + haze(x, 10 * _SMALL)
        ),
        word("unknown", f"too few rare {unit}", f"too many rare or unknown {unit}", "rare"): (
            unknown + haze(x, _SMALL)
        ),
        word("rare", f"too few rare {unit}", f"too many rare {unit}", "rare"): (
            1 - share([i < code.half for i in range(len(tokens))])
        ),
    }


def _order(code: TextCode, x: Tensor, n: Tensor) -> dict[Word, Tensor]:
    """Returns how likely each next token is after the one before it, beyond how common it is.

    The mean of ``log p(b | a) / p(b)`` in nats over the pairs of a line, its start and its end
    included. All but the commonest tokens count as one, so that it rests on many lines.
    """
    table = code.following.to(x.device)
    k = len(table)
    # The code's classes: 0 for start and end, then the commonest tokens, then all others.
    kind = torch.where(x == END, 0, torch.where(x == UNKNOWN, k - 1, x - FIRST + 1)).clamp(
        max=k - 1
    )
    before = pad(kind, (1, 0))
    after = pad(kind, (0, 1))
    # A pair counts up to the one that ends the line.
    place = torch.arange(after.shape[1], device=x.device)
    counted = place <= n[:, None]
    score = (table[before, after] * counted).sum(1) / (n + 1)
    name = f"order of {code.unit}s"
    return {word(name, f"wrong {name}", f"{name} too regular"): score}
