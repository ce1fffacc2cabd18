"""Weights from files: what fits goes in whole, what could run code stays out."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from baselines.checkpoint import Checkpoint
from baselines.networks.weights import fit_weights, load_weights
from baselines.networks.zoo import build_network
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream


def network(seed=0, name="small_cnn", shape=(1, 8, 8)):
    return build_network(name, shape, 10, stream("test", seed))


def weights(seed=1, **options):
    return network(seed, **options).state_dict()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda table: table,
        lambda table: {"state_dict": table, "best_prec1": 91.7},
        lambda table: {"model_state_dict": table, "epoch": 3},
        lambda table: {"model": {"state_dict": table}, "optimizer": {"state": {}, "lr": 0.1}},
        lambda table: prefixed("module.", table),
        lambda table: {"state_dict": prefixed("module._orig_mod.", table)},
        lambda table: {"net": prefixed("model.module.", table), "acc": 91.7},
        lambda table: prefixed("backbone.", table),
    ],
)
def test_weights_come_back(tmp_path, wrap):
    """However they were wrapped, they are the weights that the network expects."""
    torch.save(wrap(weights()), tmp_path / "weights.pt")
    network = build_network("small_cnn", (1, 8, 8), 10, stream("other"))
    fit_weights(network, load_weights(tmp_path / "weights.pt"))
    assert same(network.state_dict(), weights())


def prefixed(prefix, table):
    return {f"{prefix}{name}": value for name, value in table.items()}


def test_prefixes_may_be_mixed(tmp_path):
    mixed = {
        f"{'module.' if number % 2 else '_orig_mod.module.'}{name}": value
        for number, (name, value) in enumerate(weights().items())
    }
    torch.save(mixed, tmp_path / "weights.pt")
    network = build_network("small_cnn", (1, 8, 8), 10, stream("other"))
    fit_weights(network, load_weights(tmp_path / "weights.pt"))
    assert same(network.state_dict(), weights())


def test_of_several_sets_of_weights_none_is_guessed(tmp_path):
    torch.save({"student": weights(), "teacher": weights()}, tmp_path / "weights.pt")
    with pytest.raises(UsageError, match="tensors under 'student', 'teacher'; expected one"):
        load_weights(tmp_path / "weights.pt")


def test_safetensors_come_back(tmp_path):
    save_file(weights(), tmp_path / "weights.safetensors")
    assert same(load_weights(tmp_path / "weights.safetensors"), weights())


class Command:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_a_checkpoint_that_runs_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": weights(), "extra": Command()}, "weights.pt")
    with pytest.raises(UsageError, match=r"refused .*weights\.pt.*convert it") as error:
        load_weights(tmp_path / "weights.pt")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "executed").exists()
    torch.load("weights.pt", weights_only=False)  # the control: read without care, it does run
    assert (tmp_path / "executed").exists()


def test_a_whole_pickled_model_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(UsageError, match=r"refused .*Linear"):
        load_weights(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_truncated_checkpoint_is_named(tmp_path, name, kept):
    file = tmp_path / name
    save_file(weights(), file) if file.suffix == ".safetensors" else torch.save(weights(), file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UsageError, match=name) as error:
        load_weights(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, "expected named tensors, got a mapping of int"),
        ([1, 2], "expected named tensors, got list"),
        ({}, "expected named tensors"),
    ],
)
def test_a_file_without_weights(tmp_path, content, message):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(UsageError, match=message):
        load_weights(tmp_path / "weights.pt")


def test_no_file(tmp_path):
    with pytest.raises(UsageError, match=r"no checkpoint .*weights\.pt"):
        load_weights(tmp_path / "weights.pt")


@pytest.mark.parametrize("prefix", ["network.", ""])
def test_weights_fit_with_or_without_our_normalisation(prefix):
    model, source = network(0), network(1)
    inner = source.network.state_dict()
    fit_weights(model, source.state_dict() if prefix else inner)
    assert same(model.network.state_dict(), inner)


def test_old_batch_norm_has_no_counters():
    table = weights(name="resnet20", shape=(3, 32, 32))
    table = {name: value for name, value in table.items() if "num_batches" not in name}
    model = network(name="resnet20", shape=(3, 32, 32))
    fit_weights(model, table)
    assert torch.equal(model.network.conv1.weight, table["network.conv1.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.pop("network.head.bias"), r"1 missing \(first: network.head.bias\)"),
        (lambda table: table.update(more=torch.ones(1)), r"1 unexpected \(first: more\)"),
        (
            lambda table: table.update({"network.head.bias": torch.ones(3)}),
            r"1 of another shape \(first: network.head.bias is \(3,\), expected \(10,\)\)",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(change, message):
    model, table = network(0), weights()
    change(table)
    with pytest.raises(UsageError, match=message):
        fit_weights(model, table)
    assert same(model.state_dict(), weights(0))


def fit(path, trained_on="unknown"):
    return Checkpoint(str(path), trained_on).fit(network(), None, {}, lambda share: None, stream(0))


@pytest.mark.parametrize(
    ("declared", "families"),
    [
        ("unknown", None),
        ("none", frozenset()),
        ("noise", frozenset({"noise"})),
        ("linf-gradient+noise", frozenset({"linf-gradient", "noise"})),
    ],
)
def test_a_checkpoint_is_a_trained_model(tmp_path, declared, families):
    torch.save(weights(), tmp_path / "weights.pt")
    trained = fit(tmp_path / "weights.pt", declared)
    assert same(trained.model.state_dict(), weights())
    assert trained.trained_on == families
    assert not trained.model.training


def test_an_unknown_family_is_refused_at_once():
    with pytest.raises(UsageError, match="did you mean linf-gradient"):
        Checkpoint("weights.pt", "linf-gradent")


def test_weights_of_another_network_name_file_and_way_out(tmp_path):
    torch.save({"conv1.weight": torch.ones(2)}, tmp_path / "weights.pt")
    with pytest.raises(UsageError, match=r"weights\.pt: .* do not fit CNN: .*--network"):
        fit(tmp_path / "weights.pt")


@pytest.mark.filterwarnings("ignore")  # torch's, of TorchScript's age
def test_torchscript_brings_its_network_and_cannot_adapt(tmp_path, run):
    model = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval())
    model.save(tmp_path / "model.pt")
    ended = run("--json", "--shots", "0,1", defense=f"checkpoint[path={tmp_path / 'model.pt'}]")
    first, second = json.loads(ended.out)["cells"]
    assert first["status"] == "done" and second["status"] == "skipped"
    assert "TorchScript" in second["reason"]


@pytest.mark.filterwarnings("ignore")
def test_a_program_of_torch_export_is_refused_unread(tmp_path, monkeypatch):
    program = torch.export.export(nn.Linear(2, 2), (torch.rand(1, 2),))
    torch.export.save(program, tmp_path / "model.pt2")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(UsageError, match=r"refused .*model\.pt2: a program of torch\.export"):
        load_weights(tmp_path / "model.pt2")
