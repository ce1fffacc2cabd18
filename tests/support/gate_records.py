"""Results folders with drops and gains of known size: for the tests of compare and check."""

import numpy as np
from report_records import outcome, record

from benchmark.results.store import write_record
from reports.tidy.verdicts import CellVerdicts

TRAINED = "digits/small_cnn/standard/s0"
CELL = f"{TRAINED}/pgd_linf/k00"
ADAPTED = f"{TRAINED}/pgd_linf/k05-finetune-captured-t10-lr0"


def base(n=1000, episodes=1, accuracy=0.6, seed=0):
    """Verdicts (episodes, n), the same in each episode."""
    row = np.random.default_rng(seed).random((1, n)) < accuracy
    return np.repeat(row, episodes, axis=0)


def worsened(table, lost, won=0):
    """The same with exactly so many images lost and won, in all episodes."""
    changed = table.copy()
    changed[:, np.flatnonzero(table[0])[:lost]] = False
    changed[:, np.flatnonzero(~table[0])[:won]] = True
    return changed


def result(table, clean=None):
    """The outcome of a cell that ends with these verdicts."""
    before = table[:1]
    return outcome(before, table, table, clean_before=clean)


def unadapted(table, attack="pgd_linf", clean=None, **facts):
    """A record at K = 0."""
    return record(attack, shots=0, result=result(table, clean), **facts)


def adapted(table, attack="pgd_linf", clean=None, **facts):
    """A record at K = 5."""
    return record(attack, shots=5, result=result(table, clean), **facts)


def folder(path, records):
    """A results folder that holds these."""
    for one in records:
        write_record(path, one)
    return path


def cell(table, name=CELL, query="q0", flags=()):
    """What the gate sees of a record."""
    return CellVerdicts(name, table, query, tuple(flags))
