"""A run of one model that is in memory, as `benchmark.evaluate` asks for it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from baselines.build import GivenModel
from benchmark.artifacts.probe_answers import answers_of
from benchmark.artifacts.settings import RunSettings
from benchmark.cli import launch
from benchmark.core.errors import UsageError, describe
from benchmark.core.schema import short_hash
from benchmark.core.types import Batch, Split
from benchmark.data.load import load
from benchmark.data.own import give
from benchmark.data.splits import Dataset, check_batch, check_images
from benchmark.evaluation.logits import check_device, expect_logits
from benchmark.evaluation.verdicts import frozen, state_hash
from benchmark.execution.execute import execute
from benchmark.execution.progress import ProgressBars, QuietProgress
from benchmark.plan.matrix import make_plan
from benchmark.plan.request import make_request, read_suite
from benchmark.results.records import Record


class Given(NamedTuple):
    """A model, and what it is scored on: a data set by name, or tensors."""

    model: nn.Module
    dataset: str | None
    images: Tensor | None
    labels: Tensor | None
    support: tuple[Tensor, Tensor] | None
    name: str | None

    def data(self, seed: int, shots: list[int]) -> str:
        """What names the data set in this process.

        Raises:
            UsageError: neither or both are there, or nothing that could be shown.
        """
        by_name, by_tensors = self.dataset is not None, self.images is not None
        if by_name == by_tensors or by_tensors != (self.labels is not None):
            raise UsageError("expected dataset=NAME, or images= and labels=; got neither, or both")
        if self.images is None or self.labels is None:
            return str(self.dataset)
        if any(shots) and self.support is None:
            raise UsageError("shots > 0 with images= needs support=(images, labels) to show")
        return give(_of_tensors(self.model, Batch(self.images, self.labels), self.support, seed))


def run_model(
    given: Given, values: Mapping[str, Any], place: Mapping[str, Any], quiet: bool
) -> list[Record]:
    """The records of all cells: what is in the results folder already is not run again.

    Args:
        given: the model and its data.
        values: what is asked for, by field of a `Request`.
        place: fields of `RunSettings`.
        quiet: no progress.

    Raises:
        UsageError: something in what was given does not go together.
    """
    (seed,) = values["seeds"]
    text = given.data(seed, values["shots"])
    settings = launch.check(RunSettings(executor="here", **place), command="evaluate(...)")
    scored = load(text, settings.data_dir, False, seed)
    label = given.name or _name_of(given.model, scored, settings.device)
    defenses = {label: (label, GivenModel(label, lambda: given.model))}
    request = make_request({**values, "dataset": text})
    plan = make_plan(request, read_suite("main"), defenses=defenses)
    settings = launch.prepare(plan, settings)
    if not quiet:
        launch.tell_before(plan, settings)
    progress = QuietProgress() if quiet else ProgressBars(plan, launch.console())
    with progress as listener, redirect_stdout(sys.stderr):
        execute(plan, settings, (), listener)
    return launch.records_of(plan, settings.results)


def _name_of(model: nn.Module, dataset: Dataset, device: str) -> str:
    """The class, and a hash of weights and answers: two models of a class are two."""
    check_device(model, device)
    copy = frozen(model).to(device)
    answers = answers_of(copy, dataset, device)
    told = short_hash(state_hash(copy), answers and answers.model_dump_json())
    return f"{type(model).__name__}-{told[:6]}"


def _of_tensors(
    model: nn.Module, scored: Batch, support: tuple[Tensor, Tensor] | None, seed: int
) -> Dataset:
    """A data set that is in memory alone: what is scored is test, what is shown is the rest."""
    shown = Batch(*support) if support is not None else None
    given = [scored] if shown is None else [scored, shown]
    for batch in given:
        _check_tensors(batch)
    classes = _classes(model, scored.images[:2])
    for batch in given:
        check_batch(*batch, classes)
    test = _split(scored, 0)
    rest = _split(shown, len(scored.labels)) if shown is not None else test
    return Dataset(f"tensors:{test.hash[:8]}", classes, rest, rest, test, "tensors", seed)


def _check_tensors(batch: Batch) -> None:
    """Refuse what no model could be asked about; labels are checked once classes are known."""
    for name, one in batch._asdict().items():
        if not isinstance(one, Tensor):
            raise UsageError(f"{name}: expected a torch.Tensor, got {type(one).__name__}")
    check_images(batch.images)
    if not len(batch.images):
        raise UsageError("images: expected some, got none")


@torch.no_grad()
def _classes(model: nn.Module, images: Tensor) -> int:
    """How many logits the model gives; UsageError if it gives none for such images."""
    try:
        answers = frozen(model).cpu()(images.detach().cpu())
        return expect_logits(answers, len(images)).shape[1]
    except Exception as error:
        raise UsageError(
            f"model: cannot be asked about images of shape {tuple(images.shape[1:])}: "
            f"{describe(error)}"
        ) from error


def _split(batch: Batch, first: int) -> Split:
    ids = torch.arange(len(batch.labels)) + first
    return Split(batch.images.detach().cpu(), batch.labels.detach().cpu(), ids)
