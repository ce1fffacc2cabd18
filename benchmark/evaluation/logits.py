"""Whether what a model answered is logits: one finite tensor (batch, classes) of floats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.core.errors import AuditError, ModelError

OTHER_SIZE = 0.02
"""Share of the largest logit by which those of a network that computes in half precision may be
apart in batches of another size."""


def check_device(model: nn.Module, device: str) -> None:
    """Refuse a model that cannot come to the device it is to run on; names the tensor.

    Raises:
        AuditError: weights without numbers, as where something made `meta` the default device.
        ModelError: a tensor that stays behind, since the model does not know of it.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise AuditError(f"its {name} is on the device meta, where tensors hold no numbers")
    for where, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and value.device.type != torch.device(device).type:
                raise ModelError(
                    f"its {f'{where}.{name}' if where else name} is on {value.device}, and it runs "
                    f"on {device}; expected a buffer (register_buffer), which moves with the model"
                )


def check_finite(logits: Tensor) -> None:
    """AuditError for logits (batch, classes) that are not; says of how many images."""
    if not logits.isfinite().all():
        broken = int((~logits.isfinite()).any(dim=1).sum())
        raise AuditError(f"logits are not finite for {broken} of {len(logits)} images")


def expect_logits(answer: Any, images: int) -> Tensor:
    """What a model answered, if it is logits; ModelError says what came and what to return."""
    wanted = f"expected the model to return logits (batch, classes) for {images} images"
    if not isinstance(answer, Tensor):
        raise ModelError(f"{wanted}, got {_described(answer)}")
    if answer.dim() != 2 or len(answer) != images:
        raise ModelError(f"{wanted}, got shape {tuple(answer.shape)}")
    if not answer.is_floating_point():
        raise ModelError(f"{wanted}, got {answer.dtype}")
    return answer


def near(one: Tensor, other: Tensor, share: float) -> bool:
    """Whether logits are apart by no more than a share of the largest."""
    return bool((one - other).abs().max() <= share * one.abs().max())


def named(error: Exception) -> str:
    """An error of somebody else's code in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _described(answer: Any) -> str:
    """What came, and where in it logits may be.

    >>> from torch import zeros
    >>> _described({"logits": zeros(2, 3)})
    "a dict; return its tensor of shape (2, 3) under 'logits'"
    """
    kind, inside = type(answer).__name__, dict[str, Any]()
    if isinstance(answer, Mapping):
        inside = {f"under {key!r}": value for key, value in answer.items()}
    elif isinstance(answer, list | tuple):
        inside = {f"at [{index}]": value for index, value in enumerate(answer)}
    elif hasattr(answer, "__dict__"):
        inside = {f"in .{name}": value for name, value in vars(answer).items()}
    for where, value in inside.items():
        if isinstance(value, Tensor) and value.dim() == 2:
            return f"a {kind}; return its tensor of shape {tuple(value.shape)} {where}"
    return f"a {kind}; return one tensor"
