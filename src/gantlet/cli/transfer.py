"""One bar for a file that is fetched."""

from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def bar(name: str, size: int) -> Generator[Callable[[int], None]]:
    """Yields a function that is told how many bytes came.

    The bar goes to standard error, and nowhere when that is not a terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        task = shown.add_task(name, total=size)
        yield lambda n: shown.advance(task, n)
