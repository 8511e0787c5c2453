"""Counts of n-grams with Witten and Bell's smoothing: probabilities and draws of token rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

END = 0
"""The level that ends a row, where rows have an end; nothing but itself follows it."""


@final
@dataclass(frozen=True, eq=False)
class Counts:
    """How often each n-gram of two or more tokens is there, by its context.

    An n-gram is numbered by its place in ``keys``, and its context, the n-gram without its last
    token, by its own place one order below; contexts of one token are the tokens themselves, and
    the start of a row, which is token ``levels``.

    Attributes:
        keys: ``context * levels + token``, int64, ascending.
        counts: How often each is there, float64.
        contexts: How many contexts there are.
        levels: Number of tokens.
    """

    keys: Tensor
    counts: Tensor
    contexts: int
    levels: int

    @cached_property
    def types(self) -> Tensor:
        """How many different tokens follow each context, shape ``(contexts,)``."""
        return torch.bincount(self.keys // self.levels, minlength=self.contexts)

    @cached_property
    def totals(self) -> Tensor:
        """How many tokens follow each context, shape ``(contexts,)``, float64."""
        return torch.bincount(
            self.keys // self.levels, weights=self.counts, minlength=self.contexts
        )

    @cached_property
    def starts(self) -> Tensor:
        """The place of the first n-gram of each context, shape ``(contexts,)``."""
        return self.types.cumsum(0) - self.types

    @cached_property
    def sums(self) -> Tensor:
        """The counts up to each n-gram, itself included."""
        return self.counts.cumsum(0)

    def find(self, context: Tensor, token: Tensor) -> Tensor:
        """Returns the number of the n-gram of each context and token, -1 where there is none."""
        if not len(self.keys):
            return torch.full_like(context, -1)
        key = context * self.levels + token
        place = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
        return torch.where((context >= 0) & (self.keys[place] == key), place, -1)

    def weights(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Returns how many tokens and how many different ones follow; both 0 for context -1."""
        if not self.contexts:
            return torch.zeros_like(context).double(), torch.zeros_like(context)
        known, at = context >= 0, context.clamp(min=0)
        return self.totals[at] * known, self.types[at] * known


@final
@dataclass(frozen=True, eq=False)
class WittenBell:
    r"""A model of token rows by the tokens before each, smoothed as by Witten and Bell.

    After a context ``h`` that ``c(h)`` tokens of ``t(h)`` kinds have followed, and with ``h'``
    for the context without its first token,

    ``p(w | h) = (c(h, w) + t(h) p(w | h')) / (c(h) + t(h))``.

    Contexts have ``order - 1`` tokens at most, or end at the start of the row; below the shortest
    one all tokens are equally likely. Contexts that were never seen say nothing.

    Source: Witten and Bell, 1991, https://doi.org/10.1109/18.87000; in this recursive form Chen
    and Goodman, 1999, https://doi.org/10.1006/csla.1999.0128, section 2.5.

    Attributes:
        single: How often each token is there, shape ``(levels,)``, float64.
        grams: Counts of n-grams of 2, 3, ... tokens.
        ends: Whether token 0 ends a row; otherwise it is a token like all others, or, where
            ``has_zero`` is False, is none at all.
        has_zero: Whether token 0 can be there.
    """

    single: Tensor
    grams: tuple[Counts, ...]
    ends: bool
    has_zero: bool = True

    @classmethod
    def fit(
        cls, x: Tensor, levels: int, order: int, *, ends: bool, has_zero: bool = True
    ) -> "WittenBell":
        """Counts the n-grams of rows.

        Args:
            x: The tokens, int64, shape ``(n, length)``.
            levels: Number of tokens.
            order: Tokens of the longest n-gram, 1 or more.
            ends: See the class.
            has_zero: See the class.
        """
        counted = events(x, ends=ends)
        single = torch.bincount(x[counted], minlength=levels).double()
        grams: list[Counts] = []
        node, contexts = _with_start(x, levels), levels + 1
        for _ in range(order - 1):
            parent = node[:, :-1]
            valid = counted & (parent >= 0)
            keys, number, counts = torch.unique(
                (parent * levels + x)[valid], return_inverse=True, return_counts=True
            )
            grams.append(Counts(keys, counts.double(), contexts, levels))
            node = torch.full_like(node, -1)
            node[:, 1:][valid] = number
            contexts = len(keys)
        return cls(single, tuple(grams), ends, has_zero)

    @property
    def levels(self) -> int:
        """Number of tokens."""
        return len(self.single)

    @cached_property
    def base(self) -> Tensor:
        """Probability of each token without any context, shape ``(levels,)``, float64."""
        even = torch.ones_like(self.single)
        even[END] = float(self.has_zero)
        total, types = self.single.sum(), (self.single > 0).sum()
        return (self.single + types * even / even.sum()) / (total + types).clamp(min=1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the log-probability of each token, float64, shape ``(n, length)``, in nats.

        It is 0 behind the end of a row, and minus infinity for a token that stands there.

        Args:
            x: The tokens, int64, shape ``(n, length)``.
        """
        p, node = self.base[x], _with_start(x, self.levels)
        for counts in self.grams:
            parent = node[:, :-1]
            found = counts.find(parent, x)
            p = _mixed(counts, parent, found, p)
            node = torch.full_like(node, -1)
            node[:, 1:] = found
        behind = ~events(x, ends=self.ends)
        return torch.where(behind, torch.where(x == END, 0.0, -torch.inf), p.log())

    def start(self, n: int) -> list[Tensor]:
        """Returns the contexts of ``n`` rows without a token yet: the shortest first."""
        none = self.single.new_full((n,), -1, dtype=torch.int64)
        return [none + 1 + self.levels if i == 0 else none for i in range(len(self.grams))]

    def advance(self, nodes: Sequence[Tensor], token: Tensor) -> list[Tensor]:
        """Returns the contexts after one more token of each row."""
        if not nodes:
            return []
        pairs = zip(nodes, self.grams, strict=True)
        return [token, *(counts.find(node, token) for node, counts in pairs)][: len(nodes)]

    def probabilities(self, nodes: Sequence[Tensor], n: int) -> Tensor:
        """Returns the probabilities of the next token of ``n`` rows, shape ``(n, levels)``."""
        p = self.base.repeat(n, 1)
        for node, counts in zip(nodes, self.grams, strict=True):
            total, types = counts.weights(node)
            whole = total + types
            p *= torch.where(whole > 0, types / whole.clamp(min=1), 1.0)[:, None]
            row = torch.repeat_interleave(torch.arange(n, device=p.device), types)
            first = (types.cumsum(0) - types)[row]
            place = counts.starts[node[row]] + torch.arange(len(row), device=p.device) - first
            p[row, counts.keys[place] % self.levels] += counts.counts[place] / whole[row]
        return p

    def draw(self, nodes: Sequence[Tensor], n: int, *, rng: torch.Generator) -> Tensor:
        """Returns the next token of ``n`` rows, without the probabilities of all tokens.

        ``p(w | h)`` is a mixture of the tokens seen after ``h``, with the weight ``c(h) / (c(h) +
        t(h))``, and of ``p(w | h')``: from the longest context on, one or the other is chosen.
        """
        if not n:
            return self.single.new_zeros(0, dtype=torch.int64)
        token = torch.multinomial(self.base, n, replacement=True, generator=rng)
        for node, counts in zip(nodes, self.grams, strict=True):
            u, v = torch.rand(2, n, generator=rng, device=rng.device, dtype=torch.float64)
            total, types = counts.weights(node)
            # The longest context that is not left decides: it is looked at last.
            here = (u * (total + types) < total).nonzero()[:, 0]
            first = counts.starts[node[here]]
            before = counts.sums[first] - counts.counts[first]
            place = torch.searchsorted(counts.sums, before + v[here] * total[here], right=True)
            place = place.clamp(max=first + types[here] - 1)
            token[here] = counts.keys[place] % self.levels
        return token


def events(x: Tensor, *, ends: bool) -> Tensor:
    """Returns which tokens are random: all up to the first end, with it; shape ``(n, length)``."""
    if not ends:
        return torch.ones_like(x, dtype=torch.bool)
    is_end = (x == END).long()
    return is_end.cumsum(1) - is_end == 0


def zeros_trail(x: Tensor) -> bool:
    """Returns whether nothing but 0 follows a 0 in any row, as where 0 ends a row.

    Example:
        >>> zeros_trail(torch.tensor([[3, 1, 0, 0]])), zeros_trail(torch.tensor([[3, 0, 1, 0]]))
        (True, False)
    """
    zero = x == END
    return not bool((zero[:, :-1] & ~zero[:, 1:]).any())


def _with_start(x: Tensor, levels: int) -> Tensor:
    return torch.cat([torch.full_like(x[:, :1], levels), x], 1)


def _mixed(counts: Counts, parent: Tensor, found: Tensor, p: Tensor) -> Tensor:
    """Returns ``p(w | h)`` from ``p(w | h')``, which stays where the context is unknown."""
    if not len(counts.keys):
        return p
    total, types = counts.weights(parent)
    seen = torch.where(found >= 0, counts.counts[found.clamp(min=0)], 0.0)
    return torch.where(total > 0, (seen + types * p) / (total + types).clamp(min=1), p)
