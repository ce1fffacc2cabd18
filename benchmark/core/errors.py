"""The errors a user can meet. Each message says what was expected, what came, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """The command, a name, an option or an input is wrong: the command line exits with 2."""


class AuditError(RuntimeError):
    """An attack or an adaptation broke the rules: its cell becomes `failed`, never a score."""


class ModelError(AuditError):
    """A model that cannot be evaluated, whatever attacks it: it answers with no logits, say."""


class OverLimit(BaseException):
    """A cell took more time or memory than it may: it becomes `failed`, and the run goes on.

    No `Exception`, so that code which catches those cannot swallow it, nor anybody keep it.
    """


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """An unknown name, with the closest known ones and the list.

    >>> str(unknown("network", "resnet", ["resnet18", "small_cnn"]))
    "unknown network 'resnet'; did you mean resnet18? Known: resnet18, small_cnn"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    return UsageError(f"unknown {kind} {name!r}{hint} Known: {', '.join(names) or 'none'}")
