"""Which parameters of a network a method adapts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmark.adaptation.step_sizes import step_sizes
from benchmark.results.records import Method

LAYERS = (nn.Linear, nn.Bilinear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Kinds of layers that may be the head of a network."""
HEAD = 16
"""Images that a network is asked about to find its head."""


def trainable(model: nn.Module, method: Method, images: Tensor) -> list[str]:
    """Names of the parameters a method adapts; empty where the network has none of the kind.

    `images`: a few, which tell the head of a network from its other layers.
    """
    if method == "none":
        return []
    if method == "head":
        return head_parameters(model, images)
    if method == "norm":
        return norm_parameters(model)
    if method == "learned":
        return list(step_sizes(model))
    return [name for name, _ in model.named_parameters()]


def missing(model: nn.Module, method: Method, images: Tensor) -> str | None:
    """What a model lacks that a method needs; None if it can adapt."""
    if method == "none":
        return None
    names = trainable(model, method, images)
    if not names and method == "learned":
        return "no learned step sizes, as meta_adv[meta_sgd=true] would give"
    if not names:
        return f"no parameters for adaptation method {method}"
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        return "TorchScript, whose parameters cannot adapt; give the module that it was made of"
    everything = dict(model.named_parameters())
    asked = {name: everything[name].detach().requires_grad_() for name in names}
    with torch.enable_grad():
        learns = functional_call(model, asked, (images[:2],)).requires_grad
    return None if learns else "logits that give its parameters no gradient: nothing can adapt"


def last_linear(model: nn.Module) -> list[str]:
    """Names of the parameters of the linear layer registered last: the head of our networks."""
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return _parameters(model, linear[-1:])


@torch.no_grad()
def head_parameters(model: nn.Module, images: Tensor) -> list[str]:
    """Names of the parameters of the layer whose output are the logits; empty if there is none.

    It is found by asking: the last layer called that puts the classes of every image in the order
    that the logits have. So a scale or a softmax may follow; a second head that is not used, or a
    layer registered later and called before, is none.
    """
    called: list[tuple[str, Tensor]] = []

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _module, _inputs, output: called.append((name, output))

    layers = {name: module for name, module in model.named_modules() if isinstance(module, LAYERS)}
    hooks = [module.register_forward_hook(note(name)) for name, module in layers.items()]
    try:
        logits = model(images[:HEAD])
    finally:
        for hook in hooks:
            hook.remove()
    order = logits.argsort(dim=1)
    heads = [
        name for name, output in called
        if output.numel() == logits.numel() and len(output) == len(logits)
        and torch.equal(output.reshape(logits.shape).argsort(dim=1), order)
    ]  # fmt: skip
    found = layers[heads[-1]] if heads else nn.Identity()
    prefix = f"{heads[-1]}." if heads and heads[-1] else ""
    return [f"{prefix}{name}" for name, _ in found.named_parameters()]


def norm_parameters(model: nn.Module) -> list[str]:
    """Names of the scales and shifts of all normalisation layers; empty if there are none."""
    kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
    found = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    return _parameters(model, found)


def _parameters(model: nn.Module, modules: Sequence[str]) -> list[str]:
    return [
        f"{module}.{name}" if module else name
        for module in modules
        for name, _ in model.get_submodule(module).named_parameters(recurse=False)
    ]
