"""Whether one attack really breaks more of the same images than another."""

from __future__ import annotations

from torch import Tensor

P, LEAST = 0.01, 0.02
"""How sure it must be that it is not chance, and by which share of the images at least. [T]"""


def gain(usual: Tensor, other: Tensor) -> float | None:
    """The share of images by which `other` breaks more; None where that is chance, or too little.

    McNemar's exact test, one-sided, of those that one of the two alone breaks.

    Args:
        usual: bool (n,), the images that stand after one attack.
        other: the same after another.
    """
    from scipy.stats import binomtest  # half a second where nothing is audited

    more, fewer = int((usual & ~other).sum()), int((other & ~usual).sum())
    if more - fewer < max(1, LEAST * len(usual)):
        return None
    sure = binomtest(more, more + fewer, alternative="greater").pvalue < P
    return (more - fewer) / len(usual) if sure else None


def share(standing: Tensor) -> float:
    """Of bool (n,), 0 where there is none."""
    return float(standing.float().mean()) if len(standing) else 0.0
