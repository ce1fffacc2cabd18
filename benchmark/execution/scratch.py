"""A folder for sockets: short, of one process, and swept by a later run where a kill left it.

    $TMPDIR/reattack.<random>/     locked while its process lives, and nobody else may look inside

The path of a socket has about a hundred bytes: where the temporary folder is too long for that,
another takes its place.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmark.core.errors import UsageError

PREFIX = "reattack."
"""The dot sets it apart from the results of `check`, `verify` and `evaluate`, `reattack-*`, which
nobody locks and no sweep may take."""
LONGEST = 107 if sys.platform == "linux" else 103
"""Bytes of a socket's path."""
OTHERS = ("/tmp", "/var/tmp")
"""Where to look for a folder that is short enough, after the temporary one."""


@contextmanager
def scratch(room: int) -> Iterator[Path]:
    """A folder that is gone afterwards, short enough for names of `room` bytes inside.

    Raises:
        UsageError: no folder is.
    """
    base = _base(room)
    sweep(base)
    owner, (path, lock) = os.getpid(), _make(base)
    try:
        yield path
    finally:
        if os.getpid() == owner:  # a forked process ends here too
            shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def sweep(base: Path) -> None:
    """Remove what killed processes of this user left in `base`."""
    for path in base.glob(f"{PREFIX}*"):
        with suppress(OSError):  # gone, or of somebody else, or in use
            if path.stat(follow_symlinks=False).st_uid == os.getuid():
                lock = _lock(path)
                try:
                    shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(lock)


def _base(room: int) -> Path:
    own = tempfile.gettempdir()
    most = LONGEST - room - len(f"/{PREFIX}{8 * 'x'}/")
    for folder in (own, *OTHERS):
        if len(os.fsencode(folder)) <= most and os.access(folder, os.W_OK | os.X_OK):
            return Path(folder)
    raise UsageError(
        f"{own}: too long for sockets, and so is or cannot be written {' and '.join(OTHERS)}; "
        f"expected a temporary folder of at most {most} bytes: set TMPDIR"
    )


def _make(base: Path) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        with suppress(OSError):  # somebody swept it before it was locked
            lock = _lock(path)
            if path.is_dir():
                return path, lock
            os.close(lock)


def _lock(path: Path) -> int:
    """An open file that holds the folder till it is closed or its process ends; OSError if held."""
    import fcntl  # not everywhere, and neither are sockets that are files

    file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise
    return file
