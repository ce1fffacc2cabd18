"""Per-image streams against a reference SplitMix64 and the distributions they claim."""

import pytest
import torch
from scipy import stats

from benchmark.core.seeding import stream
from benchmark.core.streams import Streams, mix

MASK = 2**64 - 1


def splitmix(state):
    """The reference: one step of SplitMix64 in Python's own integers."""
    state = (state + 0x9E3779B97F4A7C15) & MASK
    bits = state
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
    return state, bits ^ (bits >> 31)


def test_the_published_sequence():
    """Seed 1234567 gives these five values (the reference implementation by Vigna)."""
    drawn = Streams(torch.tensor([1234567])).bits((5,))[0].tolist()
    expected = [
        6457827717110365317, 3203168211198807973, 9817491932198370423,
        4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    assert [value & MASK for value in drawn] == expected


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, -1])
def test_every_stream_is_the_reference(seed):
    drawn = Streams(torch.tensor([seed])).bits((4,))[0].tolist()
    state = seed & MASK
    for value in drawn:
        state, expected = splitmix(state)
        assert value & MASK == expected


DRAWS = {
    "uniform": lambda rng: rng.uniform((3, 4)),
    "normal": lambda rng: rng.normal((5,)),
    "signs": lambda rng: rng.signs((2, 2)),
    "integers": lambda rng: rng.integers(17, (6,)),
    "scalars": lambda rng: rng.uniform(),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_an_image_is_dealt_the_same_in_any_company(draw):
    whole, rows = Streams.named(10, "attack", 3), torch.tensor([7, 2, 9])
    draw(whole), draw(whole)
    part = whole.take(rows)
    assert torch.equal(draw(part), draw(whole)[rows])
    longer = Streams.named(1000, "attack", 3)
    assert torch.equal(draw(longer)[:10], draw(Streams.named(10, "attack", 3)))


def test_other_names_rows_draws_and_forks_differ():
    one = Streams.named(4, "a").uniform((50,))
    seen = [one[0], one[1], Streams.named(4, "b").uniform((50,))[0]]
    rng = Streams.named(4, "a")
    seen += [fork.uniform((50,))[0] for fork in (rng.fork("restart", 0), rng.fork("restart", 1))]
    rng.uniform((50,))
    seen.append(rng.uniform((50,))[0])
    for index, first in enumerate(seen):
        for second in seen[index + 1 :]:
            assert not torch.equal(first, second)
            assert abs(stats.pearsonr(first, second).statistic) < 0.5


def test_forks_do_not_depend_on_what_was_drawn_before():
    rng, fresh = Streams.named(3, "x"), Streams.named(3, "x")
    rng.uniform((9,))
    assert torch.equal(rng.fork("restart", 1).uniform((4,)), fresh.fork("restart", 1).uniform((4,)))


@pytest.mark.parametrize("count", [1, 2000])
def test_the_distributions(count):
    """Along one stream and across streams: both are how attacks use them."""
    shape = (40000 // count,)
    rng = Streams.named(count, "distributions")
    uniform = rng.uniform(shape).flatten()
    assert uniform.min() >= 0 and uniform.max() < 1
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert stats.kstest(rng.normal(shape).flatten(), "norm").pvalue > 1e-3
    thrown = rng.integers(6, shape).flatten().bincount(minlength=6)
    assert len(thrown) == 6 and stats.chisquare(thrown).pvalue > 1e-3
    heads = int((rng.signs(shape) > 0).sum())
    assert stats.binomtest(heads, 40000).pvalue > 1e-3


def test_mixing_is_one_to_one_on_what_was_tried():
    assert len(mix(torch.arange(100_000)).unique()) == 100_000


def test_joined_batches_keep_their_streams():
    first, second = Streams.named(3, "a"), Streams.named(2, "b")
    both = Streams.joined([first, second]).uniform((4,))
    assert torch.equal(both, torch.cat([first.uniform((4,)), second.uniform((4,))]))


def test_dealt_streams_follow_the_generator_and_move_it_on():
    rng = stream("training")
    one, two = Streams.dealt(rng, 3), Streams.dealt(rng, 3)
    assert torch.equal(one.keys, Streams.dealt(stream("training"), 3).keys)
    assert not torch.equal(one.keys, two.keys)


def test_a_generator_for_code_that_deals_to_batches():
    rng = Streams.named(3, "library")
    again = Streams.named(3, "library").generator()
    assert torch.equal(torch.rand(5, generator=rng.generator()), torch.rand(5, generator=again))
