"""What every attack on a finite set of variants must do: checks that its tests share."""

import torch
from attack_tasks import dealt
from torch import nn
from torch.nn.functional import cross_entropy

from benchmark.core.seeding import stream


def images(count=3, channels=1, height=8, width=8):
    return torch.rand(count, channels, height, width, generator=stream("images"))


def linear(shape, classes=4):
    size = shape[0] * shape[1] * shape[2]
    model = nn.Sequential(nn.Flatten(), nn.Linear(size, classes))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(classes, size, generator=stream("weight")) / 3)
        model[1].bias.zero_()
    return model.eval().requires_grad_(False)


def check_set(attack, batch):
    """The image itself comes first, no variant twice, all in [0, 1] and `inside`; edits are not."""
    threat = attack.threat
    grid = threat.grid()
    assert attack.passes == len(grid) == len(set(grid))
    assert torch.equal(threat.make(batch, grid[0]), batch)
    made = [threat.make(batch, variant) for variant in grid]
    assert len(torch.stack(made)[:, 0].flatten(1).unique(dim=0)) == len(grid)
    for one in made:
        assert one.shape == batch.shape and one.dtype == batch.dtype
        assert one.min() >= 0 and one.max() <= 1
        assert threat.inside(batch, one).all()
    edited = made[1].clone()
    edited[1, 0, 4, 4] += 1e-3 if edited[1, 0, 4, 4] < 0.5 else -1e-3
    assert threat.inside(batch, edited).tolist() == [True, False, *[True] * (len(batch) - 2)]
    assert threat.inside(batch[:1], made[-1][:1]).all()
    assert threat.inside(batch[:0], batch[:0]).shape == (0,)


def check_search(attack, batch):
    """Examples are the worst variant by brute force, and a verdict breaks the same images."""
    model = linear(tuple(batch.shape[1:]))
    labels = model(batch).argmax(dim=1)
    found = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
    made = [attack.threat.make(batch, variant) for variant in attack.threat.grid()]
    logits = torch.stack([model(one) for one in made])
    wrong = logits.argmax(dim=2) != labels
    losses = torch.stack([cross_entropy(one, labels, reduction="none") for one in logits])
    worst = torch.where(wrong | ~wrong.any(dim=0), losses, -torch.inf).amax(dim=0)
    reached = cross_entropy(model(found), labels, reduction="none")
    assert torch.allclose(reached, worst, atol=1e-4)
    broken = wrong.any(dim=0)
    assert torch.equal(model(found).argmax(dim=1) != labels, broken)
    verdicts = attack.perturb(model, batch, labels, "verdict", dealt(labels, 0))
    assert torch.equal(model(verdicts).argmax(dim=1) != labels, broken)
    assert 0 < broken.sum() < len(batch)
    nothing = attack.perturb(model, batch[:0], labels[:0], "examples", dealt(labels[:0], 0))
    assert nothing.shape == batch[:0].shape
