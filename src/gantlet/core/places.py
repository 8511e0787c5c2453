"""Where Gantlet keeps what it can make again, and whether that place can be trusted."""

import grp
import os
import pwd
import stat
from pathlib import Path

from gantlet.core.errors import UserError


class StorageError(UserError):
    """A folder that results or caches live in cannot be used; no trial is at fault."""


def cache_home() -> Path:
    """Returns the folder for what can be made again: ``GANTLET_CACHE``, or one in the home."""
    given = os.environ.get("GANTLET_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "gantlet"


def private_folder(path: Path) -> Path:
    """Makes ``path`` for this user alone, or checks that no other user can write into it.

    What other users can write, they can replace: numbers computed from it would be theirs. Folders
    of the superuser are trusted, and so is a group that has no other member.

    Raises:
        StorageError: If another user owns the folder, or may write into it or rename it.
        OSError: If it cannot be made or looked at.
    """
    for folder in (*reversed(path.parents), path):
        # With parents=True all but the last would get the usual rights.
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    for folder, sticky_is_safe in ((path, False), (path.resolve().parent, True)):
        reason = _shared(folder.stat(), sticky_is_safe=sticky_is_safe)
        if reason is not None:
            raise StorageError(
                f"{folder} {reason}, so what is cached there cannot be trusted. Run "
                f"'chmod go-w {folder}' if it is yours, or set GANTLET_CACHE to a private folder."
            )
    return path


def is_private(found: os.stat_result) -> bool:
    """Returns whether only this user and the superuser can change what was looked at."""
    return _shared(found, sticky_is_safe=False) is None


def _shared(found: os.stat_result, *, sticky_is_safe: bool) -> str | None:
    """Returns why others can change a file or folder, or None where they cannot."""
    is_sticky = sticky_is_safe and bool(found.st_mode & stat.S_ISVTX)
    if found.st_uid not in (os.geteuid(), 0) and not sticky_is_safe:
        return "belongs to another user"
    if found.st_mode & stat.S_IWOTH and not is_sticky:
        return "can be written by all users"
    if found.st_mode & stat.S_IWGRP and not is_sticky and not is_own_group(found.st_gid):
        return "can be written by a group of users"
    return None


def is_own_group(gid: int) -> bool:
    """Returns whether a group holds this user, or the superuser, and nobody else."""
    if gid == 0:
        return True
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
