"""Metrics over many attacks as published: pure functions of the tidy frame.

Each gives a pandas Series by BY: one number per trained defense and budget, over training seeds.
An attack stands for one perturbation at one strength, so that `pgd_linf[eps=0.1]` is a column of
its own. Where an attack or a seed is missing the number is null: nothing is averaged around a hole.
What attacks that arrive one after another do (average, union, forgetting, transfer) is in
`reports.statistics.continual`, and by stage in `reports.tidy.sequences.stages`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

BY = ("dataset", "network", "defense", "shots", "method", "knowledge", "steps", "lr")
"""What a number is about; without adaptation method is "none" and knowledge empty."""
CLEAN = "clean"
"""The column of accuracies without an attack, and its reference in `ata`."""


def accuracies(frame: pd.DataFrame, number: str = "robust") -> pd.DataFrame:
    """The accuracy matrix: a row per BY, a column per attack and CLEAN; mean over seeds.

    Args:
        frame: the tidy frame; cells that were shown another attack than the scored one and cells
            that are not done do not count.
        number: robust, static, reattacked or another column of accuracies.
    """
    cells = _cells(frame)
    done = cells.assign(number=cells[number].where(cells["status"] == "done"))
    found = done.pivot_table(
        index=list(BY), columns="attack", values="number", aggfunc=_mean_of_all, dropna=False,
        observed=True,
    )  # fmt: skip
    found = found[found.index.isin(_keys(cells))]
    seeds = done.groupby([*BY, "attack"])["seed"].nunique().unstack("attack")
    all_seeds = done.groupby(list(BY))["seed"].nunique()
    found = found.where(seeds.eq(all_seeds, axis=0).reindex_like(found))
    clean = done[done["status"] == "done"].groupby(list(BY))["clean"].mean()
    return found.assign(**{CLEAN: clean}).rename_axis(columns=None).sort_index()


def _cells(frame: pd.DataFrame) -> pd.DataFrame:
    cells = frame[frame["shown"] == ""]
    plain: dict[str, Any] = {"shots": 0, "method": "none", "knowledge": "", "steps": 0, "lr": 0.0}
    return cells.assign(
        **{name: cells[name].where(cells["adapts"], value) for name, value in plain.items()}
    )


def _keys(cells: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(cells[list(BY)].drop_duplicates())


def _mean_of_all(values: pd.Series) -> float:
    return float(values.mean(skipna=False))


def average(frame: pd.DataFrame, attacks: Sequence[str] | None = None) -> pd.Series:
    """Avg = mean_a Acc(a), the plain mean over attacks, near-duplicates and all.

    What continual defenses print (CAD, arXiv 2312.09481; CRT, arXiv 2502.04248); the headline of
    this project is the mean over families instead (`reports.tidy.aggregate`).
    """
    return _of(frame, attacks).mean(axis=1, skipna=False)


def ua2(frame: pd.DataFrame, core: Sequence[str]) -> pd.Series:
    """UA2(M) = 1/|core| sum_{a in core} Acc(a, eps_level, M): mean unforeseen attack accuracy.

    Kaufmann et al. 2019/2023 (arXiv 1908.08016v2), whose core are eight attacks at one level of
    strength; `core` names them all, since a mean over fewer is another number.
    """
    return average(frame, core)


def union_accuracy(frame: pd.DataFrame, attacks: Sequence[str] | None = None) -> pd.Series:
    """Union = mean_x prod_a correct(x, a): right under every attack, image by image.

    Tramer & Boneh 2019 (arXiv 1904.13000), Carlini et al. 2019 (arXiv 1902.06705): mean_x min_a,
    never min_a mean_x. Over the images that all attacks were scored on; mean over episodes, seeds.
    """
    table = _of(frame, attacks)
    cells = _cells(frame)
    cells = cells[cells["attack"].isin(table.columns) & (cells["status"] == "done")]
    found = {
        key: np.mean([_union(part["verdicts"]) for _, part in of_key.groupby("seed")])
        for key, of_key in cells.groupby(list(BY))
    }
    union = pd.Series(found, dtype="float64").reindex(table.index)
    return union.where(table.notna().all(axis=1))


def _union(verdicts: pd.Series) -> float:
    robust = [tables.robust for tables in verdicts]
    episodes, n = (min(table.shape[axis] for table in robust) for axis in (0, 1))
    return float(np.logical_and.reduce([table[:episodes, :n] for table in robust]).mean())


def uar(frame: pd.DataFrame, ata: Mapping[str, float]) -> pd.Series:
    """UAR(A, M) = 100 sum_k Acc(A, eps_k, M) / sum_k ATA(A, eps_k), of one attack A.

    Kang et al. 2019 (arXiv 1908.08016v1). ATA is the best accuracy that adversarially trained
    models reach against A at that size.

    Args:
        frame: the tidy frame.
        ata: by attack, all sizes of A (`pgd_l2[eps=0.2]`, ...), in (0, 1].
    """
    reference = _reference(ata)
    return 100 * _of(frame, list(reference.index)).sum(axis=1, skipna=False) / reference.sum()


def mean_uar(frame: pd.DataFrame, ata: Sequence[Mapping[str, float]]) -> pd.Series:
    """mUAR: the mean of UAR over attacks, one mapping each (Kang et al. 2019)."""
    return pd.concat([uar(frame, of_one) for of_one in ata], axis=1).mean(axis=1, skipna=False)


def cr_average(frame: pd.DataFrame, ata: Mapping[str, float]) -> pd.Series:
    """CR_ind-avg = 100 / (1 + n) [acc_clean / ATA_clean + sum_{a, eps} acc(a, eps) / ATA(a, eps)].

    Competitiveness ratio, Dai et al. 2023 (MultiRobustBench, arXiv 2302.10980). ATA(a, eps) is the
    accuracy of a model trained against exactly that. A ratio may exceed 1, so a weak reference buys
    points: look at the cells.

    Args:
        frame: the tidy frame.
        ata: the n references by attack, and `clean`; in (0, 1].
    """
    return 100 * _ratios(frame, ata).mean(axis=1, skipna=False)


def cr_worst(frame: pd.DataFrame, ata: Mapping[str, float]) -> pd.Series:
    """CR_ind-worst = 100 min over clean and all (a, eps) of acc / ATA; see `cr_average`."""
    return 100 * _ratios(frame, ata).min(axis=1, skipna=False)


def _ratios(frame: pd.DataFrame, ata: Mapping[str, float]) -> pd.DataFrame:
    if CLEAN not in ata:
        raise ValueError(f"expected the reference of {CLEAN!r} among {', '.join(sorted(ata))}")
    reference = _reference(ata)
    return accuracies(frame).reindex(columns=reference.index) / reference


def _reference(ata: Mapping[str, float]) -> pd.Series:
    reference = pd.Series(dict(ata), dtype="float64")
    if not len(reference) or not reference.between(0, 1, inclusive="right").all():
        raise ValueError(f"expected references in (0, 1], got {dict(ata)}")
    return reference


def _of(frame: pd.DataFrame, attacks: Sequence[str] | None) -> pd.DataFrame:
    """The accuracies under `attacks`, or all that any row has; null where there is none."""
    table = accuracies(frame)
    names = [name for name in table.columns if name != CLEAN] if attacks is None else attacks
    return table.reindex(columns=list(dict.fromkeys(names)))
