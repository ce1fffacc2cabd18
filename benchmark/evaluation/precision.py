"""Passes in bfloat16 where attacks search, float32 where the benchmark decides.

Images, perturbations and losses stay float32: a bfloat16 image is rounded to 1/256 near 1, which
breaks eps. Only the network runs in bfloat16, and what it calls broken counts once float32 agrees.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.core.copying import copied
from benchmark.core.errors import UsageError, unknown
from benchmark.core.model_access import Composite, float32_model, select_rows
from benchmark.core.model_batch import ModelBatch, Parameters
from benchmark.core.types import Batch

PRECISIONS = ("float32", "bfloat16")
HEAVY = (nn.Conv2d, nn.Linear)
"""Layers whose weights are kept in bfloat16; autocast would convert them in every pass."""


class LowPrecision(Composite):
    """Answers from a bfloat16 copy; `exact` is the model itself."""

    def __init__(self, exact: nn.Module, fast: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.exact, self.fast, self.gate = exact, fast, gate
        self.train(exact.training)

    def take(self, rows: Tensor) -> LowPrecision:
        """See `Composite`."""
        return LowPrecision(select_rows(self.exact, rows), select_rows(self.fast, rows), self.gate)

    @property
    def judge(self) -> nn.Module:
        """See `Composite`."""
        return self.exact

    def forward(self, images: Tensor) -> Tensor:
        """Logits in float32."""
        with torch.autocast(images.device.type, torch.bfloat16):
            logits = self.fast(images)
        answered: Tensor = self.gate(logits.float())
        return answered


def in_precision(model: nn.Module, precision: str) -> nn.Module:
    """`model` itself for float32, else the model to search on."""
    if precision == "float32":
        return model
    if isinstance(model, ModelBatch):
        names = _heavy(model.model)
        halved: Parameters = {
            name: tensor.bfloat16() if name in names else tensor
            for name, tensor in model.parameters_of_all.items()
        }
        fast: nn.Module = ModelBatch(_halved(model.model), halved, model.owner)
    else:
        fast = _halved(model)
    return LowPrecision(model, fast, nn.Identity())


def _heavy(model: nn.Module) -> set[str]:
    return {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        if isinstance(module, HEAVY)
        for name, _ in module.named_parameters(recurse=False)
    }


def _halved(model: nn.Module) -> nn.Module:
    copy = copied(model)
    for module in copy.modules():
        if isinstance(module, HEAVY):
            module.bfloat16()
    return copy


@torch.no_grad()
def difference(searched: nn.Module, batch: Batch) -> list[str]:
    """A flag saying how far low precision is from float32 on `batch`; none for float32 itself."""
    judge = float32_model(searched)
    if judge is searched:
        return []
    expected, got = judge(batch.images), searched(batch.images)
    apart = float((expected - got).abs().max())
    changed = int((expected.argmax(dim=1) != got.argmax(dim=1)).sum())
    return [
        f"bfloat16 passes: logits within {apart:.2g} of float32 and {changed} of "
        f"{len(batch.labels)} predictions other; what counts as broken was confirmed in float32"
    ]


def check_precision(precision: str, device: str) -> None:
    """UsageError for an unknown precision, or one this machine would only emulate."""
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision == "bfloat16" and not _has_bfloat16(device):
        raise UsageError(
            f"--precision bfloat16: {device} here has no bfloat16 arithmetic, it would be slower; "
            "leave the flag out"
        )


def _has_bfloat16(device: str) -> bool:
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
