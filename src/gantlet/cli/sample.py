"""gantlet sample."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gantlet.cli.options import Whole


def sample(
    run: Path,
    /,
    *,
    model: str | None = None,
    seed: Whole = 0,
    n: Annotated[Whole, Parameter(name=["-n", "--n"])] = 64,
    noise: Whole = 0,
    out: Path = Path("samples.npz"),
) -> int:
    """Draw samples from a trained model.

    Args:
        run: Run folder of `gantlet compare` or `gantlet train`.
        model: Which of its models; needed where there are several.
        seed: Which seed of that model.
        n: How many samples.
        noise: Seed of the sampling itself.
        out: Where to put them: .npz, .npy, .safetensors, or .png for a picture of all.
    """
    from gantlet.core.errors import UserError, printable
    from gantlet.core.rng import Rng
    from gantlet.studies.contest import draw, restore
    from gantlet.studies.find import find_trial
    from gantlet.studies.samples import save_samples

    if n < 1:
        raise UserError(f"-n must be at least 1. Got {n}.")
    trial, folder = find_trial(run, model, seed)
    x = draw(restore(trial, folder), n, rng=Rng(noise).stream("sample"))
    save_samples(out, x, trial)
    model = trial.parts["model"].partition(":")[0]
    print(printable(f"{n} samples of {model} written to {out}"))
    return 0
