"""The benchmark from Python: `from benchmark import evaluate`.

    result = evaluate(model, dataset="cifar10", attacks="aa_linf", limit=1000)
    result.frame[["attack", "clean", "robust", "robust_interval"]]

Plan, records, cache and progress are those of the command `run`, in this process.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from benchmark.cli.evaluation import Given, run_model
from benchmark.core.errors import UsageError
from reports.tidy.frame import from_records

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from reports.summary.curve import Curve


class Evaluation:
    """What `evaluate` gives: the tidy table, a row for each attack and budget."""

    frame: pd.DataFrame
    """See `reports.tidy.frame.COLUMNS`: accuracies in [0, 1], intervals (low, high) of 95 %."""
    flags: list[str]
    """What the audit has against the model; every number is to be read with them."""
    results: Path
    """Folder of the records."""

    def __init__(self, frame: pd.DataFrame, results: Path) -> None:
        self.frame, self.results = frame, results
        self.flags = list(dict.fromkeys(flag for flags in frame["flags"] for flag in flags))

    def __repr__(self) -> str:
        """A row for each attack and budget, in percent, then what is missing and the flags."""
        from reports.tidy.format import percent
        from reports.tidy.frame import rows

        adapts = any(self.frame["shots"])
        head = ["attack", *(["K"] if adapts else []), "n", "clean"]
        head += ["static@K", "robust@K (95 %)"] if adapts else ["robust (95 %)"]
        table = [head]
        for row in rows(self.frame):
            static = [percent(row.static) if row.shots else ""] if adapts else []
            table.append([
                row.attack, *([str(row.shots)] if adapts else []),
                str(row.n) if row.status == "done" else "", percent(row.clean),
                *static, percent(row.robust, row.robust_interval if row.status == "done" else None),
            ])  # fmt: skip
        lines = _aligned(table)
        undone = self.frame[self.frame["status"] != "done"]
        lines += [f"{row.status} {row.attack}: {row.reason}" for row in rows(undone)]
        return "\n".join([*lines, *(f"flag: {flag}" for flag in self.flags)])

    def plot(self) -> Figure:
        """Robust accuracy under each attack, with its interval, beside clean accuracy."""
        from reports.plots.dots import attacks_figure
        from reports.plots.write import styled

        with styled():
            return attacks_figure(self.frame)

    def curve(self, option: str, classes: int | None = None, ordered: bool = True) -> Curve:
        """Accuracy against an option of the attacks, e.g. `eps` of `pgd_linf[eps=0.1]` and others.

        `.table`, `.remarks` (where it is not monotone) and `.plot()`: `reports.summary.curve`.

        Raises:
            UsageError: no attack here has the option.
        """
        from reports.summary.curve import curve

        return curve(self.frame, option, classes, ordered)

    def compare(self, other: Evaluation) -> pd.DataFrame:
        """Cell by cell, `other` minus this one: points, intervals, exact paired tests (Holm).

        Raises:
            UsageError: the two have no cell in common.
        """
        from reports.comparison.table import compare_frames

        return compare_frames(self.frame, other.frame)


def _aligned(table: list[list[str]]) -> list[str]:
    """Lines of a table of text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])])
        for first, *others in table
    ]


def evaluate(  # noqa: PLR0913 (one argument for each thing that a call may say)
    model: nn.Module, *, dataset: str | None = None, images: Tensor | None = None,
    labels: Tensor | None = None, attacks: str | Sequence[str] = "aa_linf",
    shots: int | Sequence[int] = 0, support: tuple[Tensor, Tensor] | None = None,
    name: str | None = None, limit: int | None = None, seed: int = 0,
    results: Path | str | None = None, data_dir: Path | str | None = None,
    device: str = "auto", quiet: bool = False,
) -> Evaluation:  # fmt: skip
    """Attack a model; with `shots`, let it adapt to a few attacked images and attack it again.

    Args:
        model: images float32 (n, channels, height, width) in [0, 1] in, logits (n, classes) out;
            normalisation belongs inside. It is copied, and stays as it is.
        dataset: what `--dataset` takes, e.g. `cifar10`, `folder:DIR`, `npz:FILE`.
        images: in place of a data set, (n, channels, height, width) in [0, 1], to be scored.
        labels: theirs, int64 (n,).
        attacks: what `--attacks` takes, or a list of such.
        shots: images of each class that are shown, one number or several; 0 adapts to nothing.
        support: (images, labels) to be shown, where `images` are given.
        name: of the model in tables; by default its class, and a hash of weights and answers.
        limit: score the first so many images only.
        seed: of every draw.
        results: folder of records; by default one that goes with the result. What is there is not
            run again.
        data_dir: where listed data sets are.
        device: auto, cpu, cuda or cuda:N.
        quiet: no progress.

    Raises:
        UsageError: something in what was given does not go together; one line says what.

    >>> import torch
    >>> head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    >>> evaluate(head, dataset="digits", attacks="fgsm", limit=20, quiet=True).frame.attack[0]
    'fgsm'
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"model: expected an nn.Module, got {type(model).__name__}")
    wanted = [shots] if isinstance(shots, int) else list(shots)
    folder = Path(results or tempfile.mkdtemp(prefix="reattack-"))
    given = Given(model, dataset, images, labels, support, name)
    values = {
        "attacks": attacks if isinstance(attacks, str) else ",".join(attacks),
        "shots": wanted, "limit": limit, "seeds": [seed],
    }  # fmt: skip
    place = {
        "results": folder, "device": device, "data_dir": Path(data_dir) if data_dir else None
    }  # fmt: skip
    try:
        found = Evaluation(from_records(run_model(given, values, place, quiet), here=True), folder)
    except BaseException:
        if results is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if results is None:  # the folder goes with what is returned
        weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return found
