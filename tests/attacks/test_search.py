"""The engine: leaving changes no verdict, and no image depends on the others in its batch."""

import pytest
import torch
from attack_tasks import dealt
from torch import nn

from attacks.engine.search import Search, bucket
from attacks.gradient import PGDL1, PGDL2, FGSMLinf, PGDLinf, PGDLinfMargin
from attacks.noise import GaussianNoise, UniformNoise
from attacks.spatial import RotationTranslation
from benchmark.contracts.toys import conv_net, some_images
from benchmark.core.model_access import Composite
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import Meter, correct, frozen, run_attack

SHAPE = (1, 8, 8)
ATTACKS = [
    PGDLinf(0.1, steps=8, restarts=2), PGDLinfMargin(0.1, steps=8), PGDL2(0.6, steps=8),
    PGDL1(2.0, steps=8), FGSMLinf(0.1), UniformNoise(0.2, draws=6), GaussianNoise(1.5, draws=6),
    RotationTranslation(8, 0, angles=5, shifts=1),
]  # fmt: skip
ids = [attack.name for attack in ATTACKS]


@pytest.fixture(scope="module")
def task():
    model = frozen(conv_net(SHAPE, 10))
    return model, some_images(model, SHAPE, 60, wrong=3)


def verdicts(attack, model, batch, goal, rng, meter=None):
    images = run_attack(attack, model, batch, goal, meter or Meter(), rng).images
    return correct(model, Batch(images, batch.labels))


@pytest.mark.parametrize("attack", ATTACKS, ids=ids)
def test_leaving_the_batch_changes_no_verdict_and_saves_passes(attack, task):
    model, batch = task
    full, early = Meter(), Meter()
    stayed = verdicts(attack, model, batch, "examples", dealt(batch.labels, "x"), full)
    left = verdicts(attack, model, batch, "verdict", dealt(batch.labels, "x"), early)
    assert torch.equal(stayed, left)
    assert 0 < int(left.sum()) < len(left), "both kinds of images are needed to see anything"
    if not isinstance(attack, FGSMLinf):
        assert early.forwards < full.forwards


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("attack", ATTACKS, ids=ids)
def test_a_verdict_does_not_depend_on_the_batch(attack, size, task):
    model, batch = task
    rng = dealt(batch.labels, "x")
    together = verdicts(attack, model, batch, "verdict", rng)
    parts = []
    for rows in torch.randperm(60, generator=torch.Generator().manual_seed(0)).split(size):
        part = Batch(batch.images[rows], batch.labels[rows])
        parts.append((rows, verdicts(attack, model, part, "verdict", rng.take(rows))))
    for rows, found in parts:
        assert torch.equal(found, together[rows])


def test_batch_sizes_come_from_a_short_list_and_waste_little():
    sizes = {bucket(count) for count in range(1001)}
    assert len(sizes) < 40
    assert all(bucket(size) == size for size in sizes)
    assert all(count <= bucket(count) <= 1.25 * count for count in range(1, 1001))


class Counting(nn.Module):
    """Writes down how many images it was asked about."""

    def __init__(self, model):
        super().__init__()
        self.model, self.sizes = model, []

    def forward(self, images):
        self.sizes.append(len(images))
        return self.model(images)


def test_the_network_meets_only_those_sizes(task):
    model, batch = task
    counting = Counting(model).eval()
    PGDLinf(0.1, steps=20).perturb(
        counting, batch.images, batch.labels, "verdict", dealt(batch.labels, "x")
    )
    assert counting.sizes[0] == 60 and counting.sizes[-1] < 60
    assert all(size == 60 or bucket(size) == size for size in counting.sizes)


def test_some_broken_rows_stay_to_fill_the_batch_up(task):
    model, batch = task
    search = Search(model, batch.images, batch.labels, "verdict")
    rows = torch.arange(60)
    search.broken[:] = False
    search.broken[10:50] = True  # 20 stand: a bucket
    assert search.leave(rows).tolist() == [*range(10), *range(50, 60)]
    search.broken[3] = True  # 19 stand: one broken row stays to make 20
    stay = search.leave(rows)
    assert len(stay) == 20 and set(stay.tolist()) >= {*range(3), *range(4, 10), *range(50, 60)}
    search.broken[:] = True
    assert search.leave(rows).tolist() == []
    assert Search(model, batch.images, batch.labels, "examples").leave(rows) is None


class Liar(Composite):
    """Calls everything broken; its judge does not."""

    def __init__(self, exact):
        super().__init__()
        self.exact = exact

    def take(self, rows):
        return self

    @property
    def judge(self):
        return self.exact

    def forward(self, images):
        return -self.exact(images)


def test_a_claim_counts_only_when_float32_agrees(task):
    model, batch = task
    search = Search(Liar(model), batch.images, batch.labels, "verdict")
    search.ask(torch.arange(60), batch.images)
    assert search.broken.tolist() == (~correct(model, batch)).tolist()
