"""What every defense must keep, ours or a user's own model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import get_args

import torch

from baselines.training.warm_start import families
from benchmark.adaptation.adapt import adapt
from benchmark.adaptation.parameters import trainable
from benchmark.adaptation.step_sizes import load
from benchmark.contracts.attack_rules import check_attack
from benchmark.contracts.check import Check, NotApplicable, check_all, expect
from benchmark.contracts.defense_probe import DefenseUnderTest, cheaper, network_for
from benchmark.core.specs import coerce
from benchmark.core.types import Defense, Family
from benchmark.evaluation.verdicts import state_hash
from benchmark.identity.fingerprint import options_of_instance
from benchmark.results.records import Budget
from benchmark.results.weights import read_weights, write_weights

BUDGET = Budget(shots=1, method="finetune", steps=2, lr=0.05)


def check_defense(
    defense: Defense, dataset: str, given: Mapping[str, str] | None = None
) -> Iterator[Check]:
    """Check a defense on a few images of `dataset`; the options `given` stay as they are."""
    yield from check_all(
        NEEDED, RULES, DefenseUnderTest(cheaper(defense, given or {}), dataset, given or {})
    )


def gives_a_model(subject: DefenseUnderTest) -> str | None:
    """`fit` ends, and what it gives takes images and obeys `eval()`."""
    shape = tuple(subject.batch.images.shape[1:])
    expect(not subject.model.training, "a model in eval mode", "train mode")
    return f"it takes images {shape}" if subject.brought else None


def keeps_its_options(subject: DefenseUnderTest) -> None:
    """As they were given, before and after training."""
    for key, text in subject.given.items():
        got = getattr(subject.defense, key)
        expect(got == coerce(text, type(got)), f"{key}={text}", got)
    now = options_of_instance(subject.defense)
    expect(now == subject.options, f"options {subject.options}", now)


def gives_finite_logits(subject: DefenseUnderTest) -> None:
    """(batch, classes), the classes of the data set."""
    logits = subject.logits()
    expect(logits.dim() == 2, "logits (batch, classes)", f"shape {tuple(logits.shape)}")
    expect(len(logits) == len(subject.batch.labels), len(subject.batch.labels), len(logits))
    expect(logits.shape[1] > 1, "at least 2 classes", logits.shape[1])
    broken = int((~logits.isfinite()).any(dim=1).sum())
    expect(not broken, "finite logits", f"NaN or infinity for {broken} of {len(logits)} images")


def gives_logits_not_probabilities(subject: DefenseUnderTest) -> None:
    """A softmax or sigmoid inside, or a clamp, hides the margin from attacks."""
    _expect_no(("probabilities", "bounded", "saturated"), subject, "logits")


def answers_the_same_twice(subject: DefenseUnderTest) -> None:
    """No dropout or random resize at inference: attacks would aim at another model each time."""
    _expect_no(("randomised", "state"), subject, "the same logits for the same images")


def judges_each_image_by_itself(subject: DefenseUnderTest) -> None:
    """What else is in the batch changes nothing."""
    _expect_no(("batch", "order"), subject, "the same logits alone and in a batch")


def gradient_reaches_the_images(subject: DefenseUnderTest) -> None:
    """Where the loss has no gradient, gradient attacks are blind and robustness is an illusion."""
    _expect_no(("no gradient",), subject, "logits that depend differentiably on the images")
    blind = ("gradients not finite", "zero gradients", "missing gradients", "gradient mode")
    _expect_no(blind, subject, "a gradient for every part of every image")
    hidden = ("quantised", "abstains", "inner optimisation")
    _expect_no(hidden, subject, "slopes that say where the logits go")


def same_stream_same_model(subject: DefenseUnderTest) -> None:
    """Training draws all its randomness from `rng`."""
    _needs_training(subject)
    first, second = state_hash(subject.trained.model), state_hash(subject.fit(turn=1).model)
    expect(first == second, "the same weights from the same stream", "others; draw from rng")


def leaves_global_random_state_untouched(subject: DefenseUnderTest) -> None:
    """`benchmark.core.seeding.global_state` protects it around code of others."""
    expect(subject.tidy, "the global generators as they were", "them drawn from or seeded")


def reports_progress_from_0_to_1(subject: DefenseUnderTest) -> None:
    """Never backwards."""
    _needs_training(subject)
    shares = subject.shares
    rises = all(a <= b for a, b in pairwise(shares))
    fits = all(0 <= share <= 1 for share in shares)
    expect(rises and fits, "shares that rise from 0 to 1", shares)


def says_what_it_was_trained_on(subject: DefenseUnderTest) -> str:
    """Families of attacks; none of them; or that nobody knows."""
    known = subject.trained.trained_on
    if known is None:
        raise NotApplicable("unknown, so nothing counts as unseen; declare `trained_on`")
    strange = sorted(set(known) - set(get_args(Family)))
    expect(not strange, f"families among {', '.join(get_args(Family))}", ", ".join(strange))
    return ", ".join(sorted(known)) or "clean images only"


def plans_what_it_trains_on(subject: DefenseUnderTest) -> None:
    """`families` says beforehand what `Trained.trained_on` says afterwards."""
    planned, found = families(subject.defense, subject.strengths), subject.trained.trained_on
    expect(planned == found, f"families {_names(planned)}, as planned", _names(found))


def no_shots_change_nothing(subject: DefenseUnderTest) -> None:
    """The row of 0 shots is the row of the trained model."""
    adapted = adapt(subject.model, Budget(shots=0), lambda _: subject.batch)
    expect(adapted.moved == 0, "no move", adapted.moved)
    expect(state_hash(adapted.model) == state_hash(subject.model), "the same weights", "others")


def adaptation_moves_a_copy_only(subject: DefenseUnderTest) -> str:
    """The adapted model differs; the trained one stays, bit for bit."""
    _needs_parameters(subject)
    before = state_hash(subject.model)
    adapted = adapt(subject.model, BUDGET, lambda _: subject.batch)
    expect(adapted.moved > 1e-8, "parameters that move", f"a move of {adapted.moved:.3g}")
    expect(state_hash(adapted.model) != before, "other weights after adaptation", "the same")
    expect(state_hash(subject.model) == before, "the trained model untouched", "it changed")
    return f"moved by {adapted.moved:.2%}"


def adapting_twice_gives_the_same(subject: DefenseUnderTest) -> None:
    """Nothing is left over from one episode to the next."""
    _needs_parameters(subject)
    adapted = [adapt(subject.model, BUDGET, lambda _: subject.batch).model for _ in range(2)]
    first, second = map(state_hash, adapted)
    expect(first == second, "the same adapted weights", "others")


def survives_saving_and_loading(subject: DefenseUnderTest) -> None:
    """Bit for bit, through the file the benchmark keeps."""
    _needs_training(subject)
    fresh = network_for(subject.dataset)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        write_weights(path, subject.trained.model.state_dict(), {})
        saved = read_weights(path)
    expect(saved is not None, "a readable file", "none")
    if saved is not None:
        load(fresh, saved.tensors)
    with torch.no_grad():
        logits = fresh.eval()(subject.batch.images)
    expect(torch.equal(logits, subject.logits()), "the same logits", "others")


def its_own_attacks_keep_the_rules(subject: DefenseUnderTest) -> str | None:
    """Those it brings against itself are checked like any other."""
    attacks = subject.defense.adaptive_attacks(subject.strengths)
    if not attacks:
        raise NotApplicable("it brings no attacks against itself")
    for attack in attacks:
        for found in check_attack(attack, frozenset()):
            expect(found.status != "failed", f"{attack.name} to keep the rules", str(found))
    return ", ".join(attack.name for attack in attacks)


def _expect_no(flags: tuple[str, ...], subject: DefenseUnderTest, expected: str) -> None:
    found = [flag for flag in subject.flags if flag.startswith(flags)]
    expect(not found, expected, found[0] if found else "")


def _needs_training(subject: DefenseUnderTest) -> None:
    if subject.brought:
        raise NotApplicable("the model is given, nothing is trained")


def _needs_parameters(subject: DefenseUnderTest) -> None:
    if not trainable(subject.model, BUDGET.method, subject.batch.images):
        raise NotApplicable("the model has no parameters to adapt")


def _names(families: frozenset[str] | None) -> str:
    return "unknown" if families is None else ", ".join(sorted(families)) or "none"


NEEDED = (gives_a_model, gives_finite_logits)
RULES = (
    keeps_its_options,
    gives_logits_not_probabilities,
    answers_the_same_twice,
    judges_each_image_by_itself,
    gradient_reaches_the_images,
    same_stream_same_model,
    leaves_global_random_state_untouched,
    reports_progress_from_0_to_1,
    says_what_it_was_trained_on,
    plans_what_it_trains_on,
    no_shots_change_nothing,
    adaptation_moves_a_copy_only,
    adapting_twice_gives_the_same,
    survives_saving_and_loading,
    its_own_attacks_keep_the_rules,
)
