"""One bar for trials that run side by side."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

Tell = Callable[[str, float, str], None]


@contextmanager
def progress(trials: int, *, enabled: bool = True) -> Generator[Tell]:
    """Yields a function that is told a trial's key, its finished share and what it is doing.

    The bar goes to standard error, and nowhere when that is not a terminal.
    """
    from gantlet.report import terminal

    with terminal.progress(silent=not enabled or trials == 0) as bar:
        task = bar.add_task("starting", total=max(trials, 1))
        shares: dict[str, float] = {}

        def tell(key: str, share: float, what: str) -> None:
            shares[key] = share
            running = sum(0 < s < 1 for s in shares.values())
            bar.update(
                task,
                completed=sum(shares.values()),
                description=f"{trials} trials, {running} running: {what}",
            )

        yield tell
