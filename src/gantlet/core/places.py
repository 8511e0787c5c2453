"""Where Gantlet keeps what it can make again."""

import os
from pathlib import Path


def cache_home() -> Path:
    """Returns the folder for what can be made again: ``GANTLET_CACHE``, or one in the home."""
    given = os.environ.get("GANTLET_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "gantlet"
