"""Reattack: robustness after few-shot adaptation, with the adapted model attacked again.

Read `benchmark/protocol/group.py` first: it is the whole protocol on one page. A folder may use
those before it:

    core         nouns: batch, threat, attack, defense; streams, registry, errors
    identity     what a component is: declared versions, and the code of a user's file
    results      cells and records, their files, pictures and tensors
    data         data sets and splits
    adaptation   the inner loop                   evaluation   audits and verdicts
    plan         names -> cells                   artifacts    trained models, crafted examples
    protocol     what is measured                 contracts    rules for attacks and defenses
    audit        whether that can be believed
    execution    processes, Ray, limits           cli, api     the commands, and Python
"""

from importlib import import_module
from typing import Any

OFFERED = ("Evaluation", "evaluate")
"""What `from benchmark import ...` finds in `benchmark.api`."""


def __getattr__(name: str) -> Any:
    """Imported when it is asked for, since it loads torch; by a name that no graph follows."""
    if name in OFFERED:
        import_module(f"{__name__}.identity.our_packages").check_packages()
        return getattr(import_module(f"{__name__}.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
