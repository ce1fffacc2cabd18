"""What every attack must keep. The benchmark audits most of it again in every cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark.contracts.attack_probe import (
    CLASSES,
    CUTS,
    ENOUGH,
    AttackUnderTest,
    cheaper,
    informed,
    observe,
)
from benchmark.contracts.check import Broken, Check, NotApplicable, check_all, expect
from benchmark.contracts.toys import SIDE, LittleMemory
from benchmark.core.errors import UsageError
from benchmark.core.specs import options_of
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch, Goal, NormBall
from benchmark.evaluation.verdicts import ROUNDING, Meter, audit, correct, run_attack

FOUND = {"linf": 0.95, "l2": 0.95, "l1": 0.85}
"""The share of the optimum that gradient attacks must find. L1 steps are sparse, hence slow."""
SIZES = {"eps", "degrees", "shift", "scale", "shear", "corner", "bend", "flow"}
"""Options that leave every image as it is where all of them are 0."""


def check_attack(attack: Attack, given: frozenset[str] = frozenset()) -> Iterator[Check]:
    """Check an attack; the options named in `given` stay as they are, expensive or not."""
    shapes = [(channels, SIDE, SIDE) for channels in (1, 3)]
    reasons = [attack.cannot_run(shape, CLASSES) for shape in shapes]
    if all(reasons):
        yield Check("runs", "skipped", f"not on {SIDE}x{SIDE} images: {reasons[0]}")
        return
    shape = shapes[reasons.index(None)]
    subject = AttackUnderTest(cheaper(attack, CUTS, given), cheaper(attack, ENOUGH, given), shape)
    yield from check_all(NEEDED, RULES, subject)


def runs(subject: AttackUnderTest) -> None:
    """It gives something back."""
    expect(isinstance(subject.seen.proposed, Tensor), "a tensor", type(subject.seen.proposed))


def keeps_shape_dtype_and_device(subject: AttackUnderTest) -> None:
    """As the images it was given."""
    given, got = ((tuple(t.shape), t.dtype, t.device) for t in _pair(subject))
    expect(given == got, _plain(given), _plain(got))


def gives_finite_images_in_the_box(subject: AttackUnderTest) -> None:
    """Pixels in [0, 1]."""
    proposed = subject.seen.proposed
    expect(bool(proposed.isfinite().all()), "finite pixels", "NaN or infinity")
    low, high = float(proposed.min()), float(proposed.max())
    inside = low >= -ROUNDING and high <= 1 + ROUNDING
    expect(inside, "pixels in [0, 1]", f"[{low:.6g}, {high:.6g}]")


def stays_in_the_budget(subject: AttackUnderTest) -> str | None:
    """Inside the threat; where a minimum-norm attack is not, it has failed to break."""
    images, proposed = _pair(subject)
    over = int((~subject.attack.threat.inside(images, proposed.clamp(0, 1))).sum())
    if subject.attack.minimum_norm:
        return f"minimum norm, judged by it: {over} of {len(images)} proposals do not count"
    expect(not over, f"all inside {subject.attack.threat}", f"{over} of {len(images)} outside")
    return None


def leaves_weights_and_buffers_untouched(subject: AttackUnderTest) -> None:
    """Bit for bit."""
    before, after = subject.seen.before, subject.seen.after
    expect(before.weights == after.weights, "the model as it was", "other weights or buffers")


def leaves_no_gradients_behind(subject: AttackUnderTest) -> None:
    """Neither gradients nor other `requires_grad`."""
    before, after = subject.seen.before, subject.seen.after
    expect(
        before.gradients == after.gradients,
        "`grad` and `requires_grad` of the parameters as they were",
        "others; use torch.autograd.grad on the images",
    )


def leaves_train_and_eval_mode_untouched(subject: AttackUnderTest) -> None:
    """The model comes in eval mode and stays there."""
    before, after = subject.seen.before, subject.seen.after
    expect(before.modes == after.modes, "eval mode as before", f"{sum(after.modes)} in train mode")


def leaves_its_inputs_untouched(subject: AttackUnderTest) -> None:
    """The tensors it was given are not its own."""
    batch, handed = subject.seen.batch, subject.seen.handed
    same = torch.equal(batch.images, handed.images) and torch.equal(batch.labels, handed.labels)
    expect(same, "images and labels as they were", "others; clone before writing")
    expect(not handed.images.requires_grad, "images without requires_grad", "requires_grad set")


def leaves_global_random_state_untouched(subject: AttackUnderTest) -> None:
    """Torch, NumPy and random; `benchmark.core.seeding.global_state` protects them."""
    before, after = subject.seen.before, subject.seen.after
    same = before.randomness == after.randomness
    expect(same, "the global generators as they were", "them drawn from or seeded; use rng")


def same_stream_same_output(subject: AttackUnderTest) -> None:
    """All randomness comes from `rng`."""
    again = observe(subject.attack, *subject.network(), "examples", 1)
    first, second = subject.seen.proposed, again.proposed
    worst = float((first - second).abs().max())
    expect(torch.equal(first, second), "the same images", f"a difference of {worst:.3g}")


def empty_batch_returns_empty(subject: AttackUnderTest) -> None:
    """No images in, none out."""
    model, batch = subject.network()
    nothing = Batch(batch.images[:0], batch.labels[:0])
    got = observe(subject.attack, model, nothing, "verdict", 0).proposed
    expect(got.shape == nothing.images.shape, tuple(nothing.images.shape), tuple(got.shape))


def takes_a_single_image(subject: AttackUnderTest) -> None:
    """A batch of one is a batch."""
    model, batch = subject.network()
    one = Batch(batch.images[:1], batch.labels[:1])
    audit(subject.attack, one.images, observe(subject.attack, model, one, "examples", 0).proposed)


def no_budget_gives_back_the_input(subject: AttackUnderTest) -> None:
    """Robust accuracy at eps 0 is clean accuracy."""
    sizes = SIZES & options_of(type(subject.attack)).keys()
    if not sizes:
        raise NotApplicable("no size to set to 0")
    zeros = {key: type(getattr(subject.attack, key))(0) for key in sizes}
    try:
        nothing: Attack = replace(subject.attack, **zeros)  # type: ignore[type-var]
    except UsageError as error:
        raise NotApplicable(str(error)) from None
    reason = nothing.cannot_run(subject.shape, CLASSES)
    if reason:
        raise NotApplicable(reason)
    model, batch = subject.network()
    checked, _ = audit(
        nothing, batch.images, observe(nothing, model, batch, "examples", 0).proposed
    )
    moved = float((checked - batch.images).abs().max())
    expect(moved <= ROUNDING, "the images themselves", f"a change of {moved:.3g}")


def never_helps(subject: AttackUnderTest) -> None:
    """What is wrong stays wrong, unless the attack is inexact; the mean loss never falls."""
    model, batch = subject.network()
    checked, _ = audit(subject.attack, batch.images, subject.seen.proposed)
    attacked = Batch(checked, batch.labels)
    helped = int((correct(model, attacked) & ~correct(model, batch)).sum())
    allowed = not helped or bool(subject.attack.inexact)
    expect(allowed, "wrong images to stay wrong", f"{helped} made right")
    before, after = _loss(model, batch), _loss(model, attacked)
    expect(after >= before - ROUNDING, f"a loss of at least {before:.4g}", f"{after:.4g}")


def both_goals_break_the_same_images(subject: AttackUnderTest) -> None:
    """`verdict` may save work, not change who is broken."""
    if isinstance(subject.attack.threat, NormBall):
        model, batch = subject.linear()[:2]
    else:
        model, batch = subject.network()
    verdicts = []
    goals: tuple[Goal, Goal] = "examples", "verdict"
    for goal in goals:
        proposed = observe(subject.attack, model, batch, goal, 0).proposed
        images, _ = audit(subject.attack, batch.images, proposed)
        verdicts.append(~correct(model, Batch(images, batch.labels)))
    only = [int((one & ~other).sum()) for one, other in (verdicts, verdicts[::-1])]
    got = f"{only[0]} broken only for examples, {only[1]} only for a verdict"
    expect(not any(only), "the same broken images", got)


def an_image_meets_the_same_in_any_batch(subject: AttackUnderTest) -> None:
    """Where the attack says so with `by_image`: half the batch is attacked as it was among all."""
    if not subject.attack.by_image:
        raise NotApplicable("asked of attacks that say by_image")
    model, batch = subject.network()
    attack = informed(subject.attack, model, batch)
    rows, rng = torch.arange(1, len(batch.labels), 2), Streams.named(len(batch.labels), "by image")
    together = run_attack(attack, model, batch, "examples", Meter(), rng).images[rows]
    some = batch.take(rows)
    alone = run_attack(attack, model, some, "examples", Meter(), rng.take(rows)).images
    worst = float((together - alone).abs().max())
    expect(worst <= ROUNDING, "the same images", f"a difference of {worst:.3g}; use rng by image")


def goes_on_where_memory_is_short(subject: AttackUnderTest) -> None:
    """A batch that is too large is halved; what says `by_image` finds the same."""
    model, batch = subject.network()
    rng = Streams.named(len(batch.labels), "contract", "memory")

    def found(short: LittleMemory) -> Tensor:
        attack = informed(subject.attack, short, batch)
        return run_attack(attack, short, batch, "examples", Meter(), rng).images

    ample = LittleMemory(model).eval()
    usual, asked = found(ample), ample.largest
    try:
        halved = found(LittleMemory(model, asked - 1).eval())
    except torch.OutOfMemoryError:
        raise NotApplicable(f"asks about {asked} at once, however few it attacks") from None
    worst = float((usual - halved).abs().max()) if subject.attack.by_image else 0.0
    expect(worst <= 1e-5, "the same images", f"a difference of {worst:.3g}")


def does_not_beat_the_closed_form(subject: AttackUnderTest) -> None:
    """On a linear model what can be broken is known."""
    task, broken = subject.solved
    beaten = int((broken & (task.ratio > 1 + 1e-4)).sum())
    expect(not beaten, "no image broken that cannot be", f"{beaten}; the budget is not kept")


def reaches_the_closed_form(subject: AttackUnderTest) -> str:
    """Gradient attacks with steps find the optimum of a linear model, or nearly."""
    attack = subject.strong
    if not attack.family.endswith("-gradient") or attack.norm not in FOUND:
        raise NotApplicable(f"asked of gradient attacks in {', '.join(FOUND)}")
    if attack.minimum_norm or not options_of(type(attack)).keys() & {"steps", "iterations"}:
        raise NotApplicable("asked of attacks that make steps inside the budget")
    if attack.inexact:
        raise NotApplicable(attack.inexact)
    (task, broken), share = subject.solved, FOUND[attack.norm]
    missed = task.ratio[~broken & (task.ratio < share)]
    nearest = f"{float(missed.min()):.0%} of the budget" if len(missed) else ""
    expect(
        not len(missed),
        f"every image broken that needs less than {share:.0%} of the budget",
        f"{len(missed)} missed, one that needs {nearest}",
    )
    return f"finds at least {share:.0%} of the optimum"


def few_classes_are_handled_or_refused(subject: AttackUnderTest) -> str | None:
    """With 2 or 3 classes it works, or `cannot_run` says why not."""
    remarks = []
    for classes in (2, 3):
        reason = subject.attack.cannot_run(subject.shape, classes)
        if reason:
            remarks.append(f"{classes}: {reason}")
            continue
        model, batch = subject.network(classes)
        try:
            seen = observe(subject.attack, model, batch, "examples", 0)
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
            raise Broken(f"expected cannot_run to refuse {classes} classes, got {got}") from error
        audit(subject.attack, batch.images, seen.proposed)
    return "; ".join(remarks) or None


def _pair(subject: AttackUnderTest) -> tuple[Tensor, Tensor]:
    return subject.seen.batch.images, subject.seen.proposed


def _plain(parts: tuple[Any, ...]) -> str:
    return " ".join(str(part).removeprefix("torch.") for part in parts)


@torch.no_grad()
def _loss(model: nn.Module, batch: Batch) -> float:
    return float(cross_entropy(model(batch.images), batch.labels))


NEEDED = (runs, keeps_shape_dtype_and_device)
RULES = (
    gives_finite_images_in_the_box,
    stays_in_the_budget,
    leaves_weights_and_buffers_untouched,
    leaves_no_gradients_behind,
    leaves_train_and_eval_mode_untouched,
    leaves_its_inputs_untouched,
    leaves_global_random_state_untouched,
    same_stream_same_output,
    empty_batch_returns_empty,
    takes_a_single_image,
    no_budget_gives_back_the_input,
    never_helps,
    both_goals_break_the_same_images,
    an_image_meets_the_same_in_any_batch,
    goes_on_where_memory_is_short,
    does_not_beat_the_closed_form,
    reaches_the_closed_form,
    few_classes_are_handled_or_refused,
)
