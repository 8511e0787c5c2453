"""The commands that judge samples, as functions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gantlet.core.arguments import checked
from gantlet.core.errors import UserError
from gantlet.core.places import cache_home
from gantlet.critics.search import Search
from gantlet.exec.api import conduct
from gantlet.exec.given import Given, written
from gantlet.report.blocks import Report
from gantlet.store.files import draft_of
from gantlet.store.run import folder_of
from gantlet.studies.evaluation import Evaluate
from gantlet.studies.evaluation.inputs import named, naming
from gantlet.studies.evaluation.sets import Asked, forget
from gantlet.studies.flaws import FindFlaws
from gantlet.studies.tournament import Tournament

Grouping: TypeAlias = str | Path | Sequence[object] | Tensor | NDArray[Any]
"""Which samples belong together: in words, or a label for each of them."""

# How many samples are drawn from a model where all samples of sets are wanted.
_DRAWN = 10_000


@checked
def evaluate(
    fake: Given | Mapping[str, Given],
    real: Given,
    *,
    train: Given | None = None,
    features: Sequence[str] = (),
    metrics: Sequence[str] = (),
    rank: str = "kid",
    samples: int | None = 10_000,
    pairs: Given | None = None,
    outputs: int = 1,
    control: Given | None = None,
    groups: Grouping | Mapping[str, Grouping] | None = None,
    seed: int = 0,
    data_seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    out: str | Path | None = None,
) -> Report:
    """Judges samples against real ones and returns the report; see ``gantlet evaluate``.

    Calling it again with the same question and folder resumes.

    Args:
        fake: The samples to judge, or several by name.
        real: The real samples.
        train: What the model learned from; shows copies.
        features: What distances are measured on; empty for what suits the data.
        metrics: What is measured; empty for the usual.
        rank: The metric by which several sets are ranked.
        samples: Most samples of a set, and how many are drawn from a model; None for all.
        pairs: What each output should have been, in order, for translation, infilling and edits.
        outputs: How many outputs there are for each of these, one after the other.
        control: Other real samples for the noise floor, in neither reference nor training set;
            None for the rest of the data set, else a part of the reference.
        groups: Which samples belong together (one subject, prompt or source): a column of a table,
            a file with one label a line, a regular expression with one group for file names, or
            one label for each sample; by the name of the set where it is for one (``"real"``,
            ``"fake"``, ``"control"``, ``"train"`` or its own name).
        seed: Draws the samples that are used, and all else that is random.
        data_seed: From which the splits of data sets follow.
        threads: Threads to use.
        device: Where features are computed and compared.
        out: Run folder; one below runs/ if none is given.

    Raises:
        UserError: If the samples cannot be found or compared, or the folder holds another run.
    """
    asked = _asked(fake, real, train, samples=samples, seed=seed, data_seed=data_seed)
    if pairs is not None:
        asked = replace(asked, pairs=_word(pairs, "pairs", samples, seed), outputs=outputs)
    if control is not None:
        asked = replace(asked, control=_word(control, "control", samples, seed))
    asked = replace(asked, groups=tuple(_groups(groups)))
    study = Evaluate(
        asked=asked,
        features=tuple(features),
        metrics=tuple(metrics),
        rank=rank,
        threads=threads,
        device=device,
    )
    return _judged(study, "evaluate", out)


@checked
def flaws(
    fake: Given | Mapping[str, Given],
    against: Given,
    *,
    train: Given | None = None,
    features: str = "",
    search: Search | None = None,
    samples: int | None = 10_000,
    seed: int = 0,
    data_seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    out: str | Path | None = None,
) -> Report:
    """Lists what is wrong with samples, the largest flaw first; see ``gantlet flaws``.

    Calling it again with the same question and folder resumes.

    Args:
        fake: The samples to judge, or several by name.
        against: The real samples.
        train: What extractors may learn from.
        features: In what directions are looked for; empty for what suits the data.
        search: How flaws are looked for.
        samples: Most samples of a set, and how many are drawn from a model; None for all.
        seed: Draws the samples that are used, and all else that is random.
        data_seed: From which the splits of data sets follow.
        threads: Threads to use.
        device: Where features are computed.
        out: Run folder; one below runs/ if none is given.

    Raises:
        UserError: If the samples cannot be found or compared, or the folder holds another run.
    """
    study = FindFlaws(
        asked=_asked(fake, against, train, samples=samples, seed=seed, data_seed=data_seed),
        features=features,
        search=search or Search(),
        threads=threads,
        device=device,
    )
    return _judged(study, "flaws", out)


@checked
def tournament(
    *runs: str | Path,
    samples: int = 1000,
    seed: int = 0,
    threads: int = 1,
    out: str | Path | None = None,
) -> Report:
    """Rates generators and critics by matches; see ``gantlet tournament``.

    Args:
        runs: Run folders of trainings, of the same data.
        samples: How many samples of each generator to judge at most.
        seed: Draws the samples.
        threads: Threads to use.
        out: Run folder; one below runs/ if none is given.

    Raises:
        UserError: If a run has no snapshots, or the folder holds another run.
    """
    study = Tournament(runs=tuple(map(str, runs)), samples=samples, seed=seed, threads=threads)
    folder = Path(out) if out is not None else folder_of("tournament", study.question())
    return conduct(study, folder, threads=threads)


def _judged(study: Evaluate | FindFlaws, name: str, out: str | Path | None) -> Report:
    forget()
    folder = Path(out) if out is not None else folder_of(name, study.question())
    return conduct(study, folder, threads=study.threads, device=study.device)


def _asked(
    fake: Given | Mapping[str, Given],
    real: Given,
    train: Given | None,
    *,
    samples: int | None,
    seed: int,
    data_seed: int,
) -> Asked:
    def word(given: Given, name: str) -> str:
        return _word(given, name, samples, seed)

    return Asked(
        fakes=tuple(_called(name, word(given, name)) for name, given in _several(fake).items())
        or (word(cast("Given", fake), "fake"),),
        real=word(real, "real"),
        train=None if train is None else word(train, "train"),
        samples=samples,
        seed=seed,
        data_seed=data_seed,
    )


def _word(given: Given, name: str, samples: int | None, seed: int) -> str:
    return written(given, name, n=samples, seed=seed)


def _groups(groups: Grouping | Mapping[str, Grouping] | None) -> Iterator[str]:
    """Yields groups in the words of the command line; labels are saved to the cache first."""
    if groups is None:
        return
    if isinstance(groups, Mapping):
        yield from (f"{name}={_labels(what)}" for name, what in groups.items())
    else:
        yield _labels(groups)


def _labels(what: Grouping) -> str:
    if isinstance(what, (str, Path)):
        return str(what)
    labels = what.tolist() if isinstance(what, (Tensor, np.ndarray)) else what
    text = "".join(f"{label}\n" for label in labels)
    name = blake2b(text.encode(), digest_size=16).hexdigest()
    file = cache_home() / "inputs" / f"{name}.txt"
    if not file.exists():
        with draft_of(file) as draft:
            draft.write_text(text, encoding="utf-8")
    return str(file)


def _several(fake: Given | Mapping[str, Given]) -> Mapping[str, Given]:
    """Returns sets by name, or none where one set came without a name."""
    for name in fake if isinstance(fake, Mapping) else ():
        if not isinstance(name, str):
            raise TypeError(f"Names of sets must be texts. Got {name!r:.60}.")
        if not name or "\0" in name:
            raise UserError(f"{name!r} cannot be the name of a set.")
    return cast("Mapping[str, Given]", fake) if isinstance(fake, Mapping) else {}


def _called(name: str, word: str) -> str:
    return naming(name, named(word)[1])
