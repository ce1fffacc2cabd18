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
    execution    processes, Ray, limits           cli, api     the commands, and Python
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.api import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]


def __getattr__(name: str) -> Any:
    """`evaluate` is imported when it is asked for: it loads torch, which takes seconds."""
    if name in __all__:
        from benchmark import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
