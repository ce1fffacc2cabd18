"""What a model answers on images that are always the same: a result depends on nothing else of it.

Code, options and weights are hashed; a file read while the model is asked, a variable of the
environment, a tensor in no state dict are not. Those show in the logits.
"""

from __future__ import annotations

import base64
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from benchmark.core.schema import Frozen

TOLERANCE = 1e-4
"""Of the largest logit: far above what another processor rounds, far below what matters."""
ROUNDING = 1e-6
"""Of the largest logit: two that are nearer than this are no decision."""


class Answers(Frozen):
    """Logits of a trained model on the probe images, float32, base64."""

    rows: int = Field(ge=1)
    classes: int = Field(ge=1)
    logits: str

    @classmethod
    def pack(cls, table: np.ndarray) -> Self:
        """From (rows, classes)."""
        rows, classes = table.shape
        content = np.ascontiguousarray(table, dtype="<f4").tobytes()
        return cls(rows=rows, classes=classes, logits=base64.b64encode(content).decode())

    def unpack(self) -> np.ndarray:
        """Back to float32 (rows, classes)."""
        flat = np.frombuffer(base64.b64decode(self.logits), dtype="<f4")
        return flat.reshape(self.rows, self.classes)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        found = len(base64.b64decode(self.logits, validate=True))
        if found != 4 * self.rows * self.classes:
            raise ValueError(
                f"answers hold {found} bytes; "
                f"{self.rows} rows x {self.classes} classes need {4 * self.rows * self.classes}"
            )
        if not np.isfinite(self.unpack()).all():
            raise ValueError("answers are not finite")
        return self


def same(before: Answers, now: Answers) -> bool:
    """Whether they are those of one model: equal decisions, and logits apart by rounding."""
    if (before.rows, before.classes) != (now.rows, now.classes):
        return False
    old, new = before.unpack().astype(float), now.unpack().astype(float)
    largest = np.abs(old).max()
    second, first = np.sort(old, axis=1)[:, -2:].T if before.classes > 1 else (old[:, 0], old[:, 0])
    decided = first - second > ROUNDING * largest
    agree = (old.argmax(axis=1) == new.argmax(axis=1)) | ~decided
    return bool(agree.all() and np.abs(old - new).max() <= TOLERANCE * largest)
