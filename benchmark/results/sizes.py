"""How many images each data set has, and so how many a cell scores."""

from __future__ import annotations

from typing import NamedTuple

from benchmark.results.cells import Cell


class Sizes(NamedTuple):
    """Images of each split."""

    train: int
    validation: int
    test: int


SIZES = {
    "digits": Sizes(1000, 400, 397),
    "mnist": Sizes(55000, 5000, 10000),
    "fashion_mnist": Sizes(55000, 5000, 10000),
    "cifar10": Sizes(45000, 5000, 10000),
    "cifar100": Sizes(45000, 5000, 10000),
    "svhn": Sizes(68257, 5000, 26032),
}


def fits(cell: Cell, n: int) -> bool:
    """Whether a cell may have scored `n` images: all that it should, as far as is known here.

    That is its limit, or the whole test set where there are fewer. Of validation images some are
    shown, not scored, and a data set of others may have any size: then there may be fewer.
    """
    if n == cell.limit:
        return True
    known = SIZES.get(cell.dataset) if cell.split == "test" else None
    return n < (cell.limit or n + 1) and (known is None or n == known.test)
