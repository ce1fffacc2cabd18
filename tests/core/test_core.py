"""Names, options, registry, random streams, distances and errors."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch

from attacks import ATTACKS
from attacks.build import build_attack, strengths_of
from baselines import DEFENSES
from benchmark.core.errors import UsageError, unknown
from benchmark.core.registry import Registry
from benchmark.core.seeding import draw_seed, global_hash, global_state, stream
from benchmark.core.specs import Spec, build, coerce, split
from benchmark.core.types import Batch, NormBall, distance

# Specs.


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("fgsm", "fgsm", ()),
        (" pgd_linf[steps=40, eps=8/255] ", "pgd_linf", (("eps", "8/255"), ("steps", "40"))),
        ("a[]", "a", ()),
        ("dir/file.py:Net[width=2]", "dir/file.py:Net", (("width", "2"),)),
        ("c[path=a=b]", "c", (("path", "a=b"),)),
        ("a[x=b[y=1,z=c[w=2]],v=3]", "a", (("v", "3"), ("x", "b[y=1,z=c[w=2]]"))),
    ],
)
def test_specs_are_read(text, name, options):
    assert Spec.parse(text) == Spec(name, options)


def test_the_order_of_options_does_not_matter():
    first, second = Spec.parse("a[x=1,y=2]"), Spec.parse("a[y=2,x=1]")
    assert (first, str(first)) == (second, "a[x=1,y=2]")
    assert Spec.parse(str(first)) == first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a[x=1", "cannot read"), ("a]x[", "cannot read"), ("", "cannot read"),
        ("a[x=b[y=1]", "cannot read"), ("a[x=1]]", "cannot read"), ("a[x=1]b[y=2]", "cannot read"),
        ("a[x]", "cannot read option 'x'"), ("a[=1]", "cannot read option"),
        ("a[x=]", "cannot read option"), ("a[x=1,x=2]", "given twice"),
    ],
)  # fmt: skip
def test_specs_that_are_not_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        Spec.parse(text)


def test_commas_in_brackets_do_not_split():
    assert split("a[x=1,y=2], b,,c[z=3]") == ["a[x=1,y=2]", "b", "c[z=3]"]
    assert split("a[x=b[y=1,z=2],w=3],c") == ["a[x=b[y=1,z=2],w=3]", "c"]


@dataclass(frozen=True)
class Component:
    """What a spec is made into."""

    name: ClassVar[str] = "component"
    size: float
    count: int = 3
    rate: float | None = None
    loud: bool = False
    kind: Literal["one", "two"] = "one"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("size=8/255", 8 / 255), ("size=.5", 0.5), ("count=7", 7), ("rate=none", None),
        ("rate=0.5", 0.5), ("loud=true", True), ("kind=two", "two"),
    ],
)  # fmt: skip
def test_options_get_their_type(option, value):
    found = build(Component, Spec.parse(f"component[{option}]"), {"size": 1.0})
    assert getattr(found, option.partition("=")[0]) == value


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("count=2.5", "component\\[count=2.5\\]: expected int, got '2.5'"),
        ("size=big", "expected float, got 'big'"),
        ("size=1/0", "expected float, got '1/0'"),
        ("loud=1", "true or false"),
        ("kind=three", "one of one, two"),
        ("colour=red", "unknown option of component 'colour'.*Known: count, kind, loud"),
        ("cont=1", "did you mean count"),
    ],
)
def test_wrong_options_are_refused_in_one_line(option, message):
    with pytest.raises(UsageError, match=message) as caught:
        build(Component, Spec.parse(f"component[{option}]"), {"size": 1.0})
    assert "\n" not in str(caught.value)


def test_given_beats_default_beats_the_class():
    made = build(Component, Spec.parse("component[count=1]"), {"size": 2.0, "count": 9, "other": 0})
    assert (made.size, made.count) == (2.0, 1)
    with pytest.raises(UsageError, match=r"component needs size.*component\[size=VALUE\]"):
        build(Component, Spec.parse("component"), {})


def test_coerce_refuses_what_is_no_number():
    with pytest.raises(ValueError, match="invalid literal"):
        coerce("x", int)


# Registry.


def registry(tmp_path, monkeypatch, files):
    package = f"axis_{tmp_path.name}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(
        f"from benchmark.core.registry import Registry\nTHINGS = Registry('thing', '{package}')\n"
    )
    for name, text in files.items():
        (tmp_path / package / f"{name}.py").write_text(f"from {package} import THINGS\n{text}")
    monkeypatch.syspath_prepend(tmp_path)
    return __import__(package).THINGS


THING = """
from dataclasses import dataclass
@THINGS.register
@dataclass(frozen=True)
class Thing:
    name = "{0}"
"""


def test_a_file_dropped_in_is_found_and_a_broken_one_hides_nothing(tmp_path, monkeypatch):
    files = {"a": THING.format("first"), "b": THING.format("second"), "c": "1 / 0"}
    things = registry(tmp_path, monkeypatch, files)
    assert things.names() == ["first", "second"]
    assert things.unavailable == {
        "c": f"{things.package}.c failed to import: ZeroDivisionError: division by zero"
    }
    assert things.match("f*") == ["first"]
    assert things.build(Spec("second")).name == "second"
    with pytest.raises(UsageError, match=r"thing 'c' is unavailable: .*ZeroDivisionError"):
        things.get("c")
    with pytest.raises(UsageError, match="unknown thing 'frist'; did you mean first"):
        things.get("frist")
    with pytest.raises(UsageError, match="unknown thing 'x"):
        things.match("x*")


def test_two_things_of_one_name_are_refused(tmp_path, monkeypatch):
    files = {"a": THING.format("same"), "b": THING.format("same")}
    things = registry(tmp_path, monkeypatch, files)
    assert things.names() == ["same"]
    assert "registered twice" in things.unavailable["b"]


def test_what_is_left_out_says_why():
    things = Registry("thing", "json")
    things.refuse("old", "use new")
    with pytest.raises(UsageError, match="thing 'old' is unavailable: use new"):
        things.get("old")


def test_every_file_of_ours_imports():
    """Reasons to be unavailable are choices, not accidents."""
    for known in (ATTACKS, DEFENSES):
        known.names()
        assert not [reason for reason in known.unavailable.values() if "failed to import" in reason]


@pytest.mark.parametrize(
    "dataset", ["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn"]
)
def test_every_attack_has_its_strength_on_every_data_set(dataset):
    for name in ATTACKS.names():
        attack = build_attack(name, strengths_of(dataset))
        assert attack.threat.norm == attack.norm or attack.norm == "spatial"
        assert attack.passes > 0


def test_strengths_of_an_unknown_data_set():
    with pytest.raises(UsageError, match=r"unknown data set.*did you mean digits"):
        strengths_of("digit")


def test_unknown_lists_what_is_known():
    message = str(unknown("colour", "gren", ["green", "blue"]))
    assert message == "unknown colour 'gren'; did you mean green? Known: blue, green"
    assert str(unknown("colour", "qqq", [])) == "unknown colour 'qqq'. Known: none"


# Random streams.


def test_a_stream_depends_on_its_names_alone():
    draws = [torch.rand(4, generator=stream(*names)) for names in (("a", 1), ("a", 1), ("a", 2))]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(
        torch.rand(4, generator=stream("ab", "c")), torch.rand(4, generator=stream("a", "bc"))
    )


def test_streams_are_the_same_in_every_process():
    """Written down once: a change would silently change every figure.

    Torch itself drew other numbers from large ranges in older releases, so no seed is written here.
    """
    assert int(torch.randint(10**6, (1,), generator=stream("attack", "pgd_linf", 0))) == 808924
    assert draw_seed(stream("seed")) == draw_seed(stream("seed"))


def test_global_state_is_seeded_inside_and_as_before_outside():
    before = global_hash()
    inside = []
    for _ in range(2):
        with global_state(stream("global")):
            inside.append((torch.rand(1).item(), np.random.rand(), random.random()))  # noqa: NPY002
        assert global_hash() == before
    assert inside[0] == inside[1]
    with pytest.raises(KeyError), global_state(stream("global")):
        random.random()
        raise KeyError
    assert global_hash() == before


def test_the_global_hash_notices_every_generator():
    with global_state(stream("hash")):
        seen = {global_hash()}
        for draw in (lambda: torch.rand(1), np.random.rand, random.random):
            draw()
            seen.add(global_hash())
        assert len(seen) == 4


# Types.


def test_distances_are_the_textbook_ones():
    images, moved = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    moved[0, :, 0, 0] = torch.tensor([0.3, -0.4])
    moved[0, 0, 1, 1] = 1.0
    found = {norm: float(distance(images, moved, norm)) for norm in ("linf", "l2", "l1", "l0")}
    assert found == pytest.approx({"linf": 1.0, "l2": 1.25**0.5, "l1": 1.7, "l0": 2})


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_ball_forgives_rounding_and_nothing_else(norm):
    images = torch.full((1, 1, 1, 1), 0.3)
    ball = NormBall(norm, 0.1)
    assert ball.inside(images, images + 0.1).all()
    assert not ball.inside(images, images + 0.1001).any()
    assert str(ball) == f"{norm} 0.1"


def test_l0_counts_pixels_not_channels():
    images = torch.zeros(1, 3, 2, 2)
    moved = images.clone()
    moved[0, :, 0, 0] = 1
    assert NormBall("l0", 1).inside(images, moved).all()
    moved[0, 1, 1, 1] = 1e-7
    assert not NormBall("l0", 1).inside(images, moved).any()


def test_a_batch_moves_as_one():
    moved = Batch(torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64)).to("cpu")
    assert moved.labels.dtype == torch.int64
