"""A progress bar for trials that run side by side; to stderr, and none where nobody looks."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Tell = Callable[[str, float, str], None]


@contextmanager
def progress(trials: int, *, enabled: bool = True) -> Iterator[Tell]:
    """Yields a function that is told a trial's key, its finished share and what it is doing."""
    if not enabled or trials == 0 or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f}/{task.total:.0f} trials"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=trials)
        shares: dict[str, float] = {}

        def tell(key: str, share: float, what: str) -> None:
            shares[key] = share
            bar.update(task, completed=sum(shares.values()), description=what)

        yield tell
