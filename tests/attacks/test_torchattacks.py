"""Every attack from torchattacks: inside the rules, without a trace left, options as written."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from attack_tasks import dealt, images_for, network

from attacks import ATTACKS
from attacks.build import build_attack, strengths_of
from attacks.libraries.model_proxy import ModelProxy
from attacks.libraries.torchattacks_adapter import Call
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.types import Attack

# Options that make an attack cheap without changing what it is.
QUICK = {
    "apgd_l2": "steps=10", "apgd_linf": "steps=10", "apgdt_l2": "steps=5,targets=3",
    "apgdt_linf": "steps=5,targets=3", "bim": "steps=5", "cw": "steps=20", "deepfool": "steps=3",
    "difgsm": "steps=5", "eaden": "steps=10,searches=2", "eadl1": "steps=10,searches=2",
    "eotpgd": "steps=3", "fab_l1": "steps=5", "fab_l2": "steps=5", "fab_linf": "steps=5",
    "ffgsm": "", "jitter": "steps=5", "jsma": "", "mifgsm": "steps=5", "nifgsm": "steps=5",
    "onepixel": "steps=2,population=20", "pifgsm": "", "pifgsmpp": "", "pixle": "tries=4",
    "rfgsm": "steps=5", "sinifgsm": "steps=2", "sparsefool": "steps=1",
    "spsa": "steps=2,samples=8", "square": "queries=30", "square_l2": "queries=30", "ta_fgsm": "",
    "ta_pgd_l2": "steps=5", "ta_pgd_linf": "steps=5", "tifgsm": "steps=5", "tpgd": "steps=5",
    "upgd": "steps=5", "vmifgsm": "steps=2", "vnifgsm": "steps=2",
}  # fmt: skip
COLOUR_ONLY = {"pifgsm", "pifgsmpp", "tifgsm"}
OURS = [
    name for name in ATTACKS.names() if ATTACKS.get(name).origin.startswith("torchattacks ")
]  # fmt: skip


def quick(name: str, **extra: str) -> Attack:
    options = ",".join(filter(None, [QUICK[name], *(f"{k}={v}" for k, v in extra.items())]))
    return build_attack(f"{name}[{options}]" if options else name, strengths_of("digits"))


def test_the_library_is_not_imported_before_it_is_used():
    code = (
        "import sys; from attacks import ATTACKS; names = ATTACKS.names(); "
        "assert 'square' in names and not {'torchattacks', 'pyautoattack'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_table_is_complete():
    assert set(OURS) == set(QUICK)


@pytest.mark.parametrize(
    "name", ["vanila", "gn", "pgdrs", "pgdrsl2", "lgv", "multiattack", "ta_autoattack"]
)
def test_what_is_left_out_says_why(name):
    with pytest.raises(UsageError, match=r"unavailable: .{20,}"):
        ATTACKS.get(name)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", OURS)
def test_stays_in_the_rules_and_leaves_no_trace(name, channels):
    if name in COLOUR_ONLY and channels == 1:
        assert quick(name).cannot_run((1, 8, 8), 10) == "needs 3 channels, images have 1"
        return
    attack, model = quick(name), network(channels)
    images, labels = images_for(model, channels)
    kept, state = images.clone(), {k: v.clone() for k, v in model.state_dict().items()}
    torch_state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    python_state = random.getstate()

    assert attack.cannot_run((channels, 8, 8), 10) is None
    perturbed = attack.perturb(model, images, labels, "verdict", dealt(images, "attack"))

    assert (perturbed.shape, perturbed.dtype) == (images.shape, images.dtype)
    assert not perturbed.requires_grad
    assert perturbed.min() >= -1e-6
    assert perturbed.max() <= 1 + 1e-6
    if not attack.minimum_norm:
        assert attack.threat.inside(images, perturbed).all()
    assert torch.equal(images, kept)
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert random.getstate() == python_state


@pytest.mark.parametrize("name", OURS)
def test_the_same_rng_gives_the_same_images(name):
    model = network(3)
    images, labels = images_for(model, 3)
    model.requires_grad_(False)
    first, second = (
        quick(name).perturb(model, images, labels, "examples", dealt(images, "attack", 1))
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", ["ta_pgd_linf", "square", "apgd_linf", "pixle", "onepixel"])
def test_another_rng_gives_other_images(name):
    """The seed comes from `rng`: APGD and Square seed themselves with 0, the sparse ones not."""
    model = network(1)
    images, labels = images_for(model, 1, n=6)
    first, second = (
        quick(name).perturb(model, images, labels, "examples", dealt(images, "attack", seed))
        for seed in (0, 1)
    )
    assert not torch.equal(first, second)


def test_modes_stop_at_the_proxy():
    model = network(1)
    proxy = ModelProxy(model, torch.device("cpu"))
    proxy.train()
    assert not any(module.training for module in model.modules())
    assert [name for name, _ in proxy.named_parameters()] == ["anchor"]


def test_an_attack_that_raises_restores_everything():
    model, state = network(1), torch.get_rng_state()
    two_channels = torch.rand(2, 2, 8, 8, generator=stream("wrong"))
    with pytest.raises(RuntimeError, match="channels"):
        quick("ta_pgd_linf").perturb(
            model, two_channels, torch.tensor([0, 1]), "verdict", Streams.named(2, "raise")
        )
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["bim", "square", "cw", "onepixel", "fab_l2"])
def test_no_images_are_no_problem(name):
    empty = torch.zeros(0, 1, 8, 8)
    labels = torch.zeros(0, dtype=torch.int64)
    perturbed = quick(name).perturb(network(1), empty, labels, "verdict", dealt(empty, "empty"))
    assert perturbed.shape == empty.shape


def test_options_in_brackets_win_and_eps_comes_from_the_data_set():
    attack = build_attack("apgd_linf[steps=5,eps=8/255]", strengths_of("digits"))
    assert (attack.steps, attack.eps, attack.loss) == (5, 8 / 255, "ce")
    assert str(attack.threat) == "linf 0.03137"
    assert build_attack("square", strengths_of("mnist")).eps == 0.3
    assert build_attack("bim[step_size=none]", strengths_of("mnist")).step_size is None


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("apgd_linf[loss=hinge]", "ce, dlr"),
        ("bim[steps=0]", r"bim\[steps=0\]: expected at least 1"),
        ("bim[eps=-0.1]", "expected at least 0"),
        ("bim[eps=nan]", "a finite number is needed"),
        ("bim[speed=1]", "unknown option of bim 'speed'"),
        ("square[queries=many]", "expected int"),
    ],
)
def test_wrong_options_say_so(spec, complaint):
    with pytest.raises(UsageError, match=complaint):
        build_attack(spec, strengths_of("digits"))


@pytest.mark.parametrize(
    ("spec", "classes", "reason"),
    [
        ("apgdt_linf", 3, "needs at least 4 classes, the data set has 3"),
        ("apgd_linf[loss=dlr]", 2, "needs at least 3 classes, the data set has 2"),
        ("apgd_linf", 2, None),
        ("onepixel[eps=0.5]", 10, "needs eps of at least 1 pixel, got 0.5"),
    ],
)
def test_cannot_run_says_what_is_missing(spec, classes, reason):
    assert build_attack(spec, strengths_of("digits")).cannot_run((1, 8, 8), classes) == reason


@pytest.mark.parametrize("name", OURS)
def test_attacks_travel_between_processes(name):
    attack = quick(name)
    assert pickle.loads(pickle.dumps(attack)) == attack
    assert attack.passes > 0
    assert type(attack).__doc__.endswith("From torchattacks.")


@pytest.mark.parametrize(("queries", "compressed"), [(500, True), (5000, False)])
def test_square_gets_to_its_small_squares_however_few_the_queries(queries, compressed):
    """AutoAttack's schedule is for 5,000; the size of the last squares must not depend on it."""
    attack = build_attack(f"square[queries={queries}]", strengths_of("mnist"))
    arguments = attack.row.arguments(attack, Call((1, 28, 28), 10, 0))
    library = pytest.importorskip("torchattacks").Square(network(1), **arguments)
    assert library.rescale_schedule == compressed
    assert library.p_selection(queries - 1) <= 0.8 / 128
