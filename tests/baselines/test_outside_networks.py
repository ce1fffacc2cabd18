"""Networks of torchvision, of timm and of the user's, and models of the hub's form."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from baselines.build import build_defense
from baselines.networks.outside import code_of
from baselines.networks.zoo import Normalised, build_network, check_network
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.data import load

TINY = """
from torch import nn
class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
    def forward(self, images):
        return self.layers(images)
class Needs(nn.Module):
    def __init__(self, width):
        super().__init__()
instance = Tiny()
number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(TINY)
    return path


def made(name, shape=(3, 32, 32), classes=7):
    return build_network(name, shape, classes, stream("outside")).eval()


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28)])
def test_a_network_of_torchvision(shape):
    model = made("torchvision:squeezenet1_1", shape)
    assert isinstance(model, Normalised)
    images = torch.rand(2, *shape, requires_grad=True)
    assert model(images).shape == (2, 7)
    assert torch.autograd.grad(model(images).sum(), images)[0].abs().sum() > 0


@pytest.mark.extra
@pytest.mark.parametrize(
    ("name", "shape"),
    [("timm:resnet10t", (1, 28, 28)), ("timm:vit_tiny_patch16_224", (3, 64, 64))],
)
def test_a_network_of_timm(name, shape):
    pytest.importorskip("timm", reason="needs the extra `hub`")
    assert made(name, shape)(torch.rand(2, *shape)).shape == (2, 7)


def test_a_network_of_ones_own(file):
    model = made(f"{file}:Tiny")
    assert type(model).__name__ == "Tiny"
    given = made(f"{file}:instance")
    again = made(f"{file}:instance")
    given.layers[1].weight.data.zero_()
    assert again.layers[1].weight.abs().sum() > 0, "a copy"
    before = code_of(f"{file}:Tiny")
    file.write_text(TINY.replace("ReLU", "Tanh"))
    assert code_of(f"{file}:Tiny") == before, "read once in a run"
    check_network(f"{file}:Tiny")
    assert code_of(f"{file}:Tiny") != before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet19", "unknown network of torchvision 'resnet19'"),
        ("keras:resnet", "unknown source of networks 'keras'"),
        ("nowhere.py:Net", "no file nowhere.py; expected --network path/to/file.py:NAME"),
        ("FILE:Needs", "Needs.* missing 1 required positional argument.*needs no arguments"),
        ("FILE:number", "needs no arguments"),
        ("FILE:None", "unknown name in"),
    ],
)
def test_what_is_no_network_is_one_line(file, name, message):
    with pytest.raises(UsageError, match=message) as error:
        made(name.replace("FILE", str(file)))
    assert "\n" not in str(error.value)


def test_images_that_a_network_cannot_take_are_said():
    with pytest.raises(UsageError, match="cannot be made for images of shape"):
        made("torchvision:vit_b_16", (3, 32, 32))(torch.rand(1, 3, 32, 32))


def fitted(text, seed=0):
    """The model of a defense that was trained elsewhere, on digits."""
    _, defense = build_defense(text)
    train = load.load("digits", None, False, 0).train
    network = build_network(defense.network, train.shape, 10, stream("outside", seed))
    return defense.fit(network, train, {}, lambda _: None, stream("fit")).model


def test_any_architecture_takes_any_weights_that_fit(file, tmp_path):
    weights = made(f"{file}:Tiny").state_dict()
    torch.save({"net": {f"module.{name}": one for name, one in weights.items()}}, tmp_path / "w.pt")
    model = fitted(f"checkpoint[path={tmp_path / 'w.pt'},network={file}:Tiny]")
    assert torch.equal(model.layers[1].weight, weights["layers.1.weight"])
    torch.save(weights, tmp_path / "a, b [1].pt")
    model = fitted(f"checkpoint[path='{tmp_path / 'a, b [1].pt'}',network={file}:Tiny]")
    assert torch.equal(model.layers[1].weight, weights["layers.1.weight"])
    weights["layers.3.weight"] = torch.rand(5, 12)
    torch.save(weights, tmp_path / "w.pt")
    with pytest.raises(UsageError, match=r"layers.3.weight is \(5, 12\), expected \(10, 12\)"):
        fitted(f"checkpoint[path={tmp_path / 'w.pt'},network={file}:Tiny]")


def test_a_network_of_torchvision_with_weights_one_has(tmp_path):
    weights = made("torchvision:resnet18", (1, 8, 8), 10).state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    model = fitted(f"torchvision:resnet18[weights={tmp_path / 'w.safetensors'}]", seed=1)
    assert all(torch.equal(one, weights[name]) for name, one in model.state_dict().items())
    random = fitted("torchvision:resnet18", seed=1)
    assert not torch.equal(random.state_dict()["network.network.conv1.weight"],
                           weights["network.network.conv1.weight"])  # fmt: skip


def test_weights_of_the_library_fit_grey_images_too(tmp_path):
    from torchvision.models import get_model

    theirs = get_model("resnet18", weights=None, num_classes=10).eval()
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    model = fitted(f"torchvision:resnet18[weights={tmp_path / 'w.safetensors'}]")
    images = torch.rand(2, 1, 8, 8)
    shown = (images.expand(-1, 3, -1, -1) - 0.456) / 0.224
    assert torch.allclose(model(images), theirs(shown), atol=1e-5)
    other = get_model("resnet18", weights=None, num_classes=1000).state_dict()
    save_file(other, tmp_path / "w.safetensors")
    with pytest.raises(
        UsageError, match=r"do not fit ResNet: 2 of another shape \(first: fc.bias is"
    ):
        fitted(f"torchvision:resnet18[weights={tmp_path / 'w.safetensors'}]")


@pytest.mark.extra
def test_a_folder_in_the_form_of_the_hub(tmp_path):
    timm = pytest.importorskip("timm", reason="needs the extra `hub`")
    network = timm.create_model("resnet10t", num_classes=10, in_chans=1)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "resnet10t", "pretrained_cfg": {"mean": [0.25], "std": [0.5]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = fitted(f"hf:{tmp_path}")
    images = torch.rand(3, 1, 8, 8)
    assert torch.allclose(model(images), network.eval()((images - 0.25) / 0.5), atol=1e-5)


def test_a_folder_whose_class_is_in_a_file(file, tmp_path):
    save_file(made(f"{file}:Tiny").state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="names no architecture of timm"):
        build_defense(f"hf:{tmp_path}")
    model = fitted(f"hf:{tmp_path}[network={file}:Tiny]")
    assert type(model).__name__ == "Tiny"
    (tmp_path / "config.json").write_text("no json")
    with pytest.raises(UsageError, match=r"no config\.json to be read"):
        build_defense(f"hf:{tmp_path}[network={file}:Tiny]")


def test_the_network_of_a_run_is_known_before_it_begins():
    with pytest.raises(UsageError, match="unknown network"):
        check_network("resnet_of_mine")
