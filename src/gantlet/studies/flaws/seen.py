"""What is measured of the sets, by what the discovery half of the real samples let learn."""

from dataclasses import replace
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from gantlet.core.components import extractors
from gantlet.core.dataset import Source, Splits
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.trial import Trial
from gantlet.critics.discovery import Relearned, relearned
from gantlet.critics.halves import Seen, parted
from gantlet.critics.vocabulary import Probes, probes_of
from gantlet.data.columns import TableCode
from gantlet.data.splits import Subset, by_share
from gantlet.features.cache import Cache
from gantlet.features.frozen import block_of
from gantlet.features.sets import feature_set
from gantlet.studies.base import Watch
from gantlet.studies.evaluation.sets import (
    Asked,
    Chosen,
    asked_of,
    extractor_of,
    fingerprint_of,
    real_set,
    train_set,
)

# Splits of a data set that may have been learned from.
_USED = ("@train", "@all", "@validation")


@final
class Sight:
    """Extractor and code of a list, neither of which has seen a judged sample.

    Args:
        trial: The list.
    """

    def __init__(self, trial: Trial) -> None:
        self.asked = asked_of(trial)
        self._trial = trial
        self._device = trial.parts["device"]
        self.real = real_set(self.asked)
        self.places, _ = parted(self.real.n, "real", rng=Rng(trial.seed))
        samples = self.real.samples
        self.code: Relearned | None = None
        if samples.code is not None or samples.space.kind == "vector":
            whole = samples.source.take(torch.arange(self.real.n))
            self.code = relearned(samples.code, samples.space, whole, self.places)

    @cached_property
    def extractor(self) -> Features:
        """The extractor, ready for use."""
        name = self._trial.parts["extractor"]
        made = extractors.make(name)
        if not made.learns:
            return extractor_of(self.asked, name, self._device)
        space = self.real.samples.space if self.code is None else self.code.space
        rng = Rng(self.asked.data_seed, self._device)
        return made.fit(space, self._splits(), rng=rng)

    def seen(self, chosen: Chosen, watch: Watch) -> Seen:
        """Returns what is seen of a set, in the space of the real samples."""
        chosen = self._written(chosen)
        space, source, code = chosen.samples.space, chosen.samples.source, chosen.samples.code
        name = self._trial.parts["extractor"].partition(":")[0]
        made = feature_set(
            self.extractor,
            source,
            block=block_of(space),
            device=self._device,
            cache=Cache.usual(),
            tell=lambda share: watch(0.5 * share, f"{name} of {chosen.samples.name}"),
        )
        found: list[Probes] = []
        # Ranks within a set are of all of it: a table is not read in blocks.
        block = chosen.n if isinstance(code, TableCode) else block_of(space)
        for index in torch.split(torch.arange(chosen.n), block):
            classes = None if made.probabilities is None else made.probabilities[index]
            found.append(probes_of(space, source.take(index), classes, code))
        values = torch.cat([p.values for p in found])
        return Seen(probes=Probes(words=found[0].words, values=values), features=made.rows)

    def _written(self, chosen: Chosen) -> Chosen:
        if self.code is None:
            return chosen
        own = self.places if chosen is self.real else None
        source = _Rewritten(chosen.samples.source, self.code, own)
        samples = replace(
            chosen.samples, space=self.code.space, source=source, code=self.code.code
        )
        return replace(chosen, samples=samples)

    def _splits(self) -> Splits:
        apart = _apart(self.asked)
        if apart is None:
            own = Subset(self._written(self.real).samples.source, self.places)
            return _by_share(self.asked, own)
        splits = apart[0]
        if self.code is None:
            return splits
        train, validation, test = (
            _Rewritten(s, self.code, None) for s in (splits.train, splits.validation, splits.test)
        )
        return replace(splits, train=train, validation=validation, test=test)


def learned_from(asked: Asked) -> str:
    """Returns from what features learn, in words."""
    apart = _apart(asked)
    if apart is not None:
        return apart[1]
    return f"{real_set(asked).n // 2:,} samples of {asked.real}, the discovery half"


def _apart(asked: Asked) -> tuple[Splits, str] | None:
    """Returns real samples beside the reference and what they are, or None where there are none.

    They are a training set that is another one, or the rest of the data set of which the
    reference is the test.
    """
    real, train = real_set(asked), train_set(asked)
    if train is not None and asked.train is not None and not _is_reference(asked, train):
        if train.samples.splits is not None:
            return train.samples.splits, f"the training split of {asked.train}"
        splits = _by_share(asked, train.samples.source)
        return splits, f"{len(splits.train):,} samples of {asked.train}"
    if real.samples.splits is not None and not asked.real.endswith(_USED):
        return real.samples.splits, f"the training split of {asked.real}"
    return None


def _is_reference(asked: Asked, train: Chosen) -> bool:
    """Returns whether a training set holds the reference, as far as their names and files tell."""
    if asked.train is None or asked.train == asked.real:
        return True
    head, at, _ = asked.real.rpartition("@")
    if train.samples.splits is not None and at and asked.real.endswith(_USED):
        return head == asked.train.partition("@")[0]
    own = fingerprint_of(asked, asked.real, "real")
    return fingerprint_of(asked, asked.train, "train") == own


def _by_share(asked: Asked, source: Source) -> Splits:
    rng = Rng(asked.data_seed)
    return by_share(source, validation=0.1, test=0.1, limit=None, rng=rng)


@final
class _Rewritten:
    """Samples written in the code of the discovery half.

    Args:
        source: The samples, in the reader's code.
        code: The other code.
        own: Where the discovery half is, or None where it is not among them.
    """

    def __init__(self, source: Source, code: Relearned, own: Tensor | None) -> None:
        self._source, self._code = source, code
        self._own = torch.zeros(len(source), dtype=torch.bool)
        if own is not None:
            self._own[own] = True

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample, shape ``(n,)``, or None where there is none."""
        return self._source.labels

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._source)

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index``."""
        x, own = self._source.take(index), self._own[index]
        found = self._code.write(x)
        if bool(own.any()):
            found[own] = self._code.write_own(x[own])
        return found
