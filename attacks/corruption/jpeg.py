"""JPEG as a file keeps an image: YCbCr, the DCT of 8 x 8 pixels, quantisation (ITU-T T.81, 1992).

Colours keep their full resolution (4:4:4), as nothing else of the format matters to a network.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from attacks.engine.dct import basis

SIDE = 8
LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99), (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * SIDE,) * 4,
)  # fmt: skip
"""The steps at quality 50 of Annex K, in 1/255 of a pixel."""
YCBCR = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]],
    dtype=torch.float64,
)
"""From red, green, blue to luma and two differences of colour (JFIF)."""


def steps(channels: int, quality: int) -> Tensor:
    """Quantisation steps of each channel, (channels, 1, 1, 8, 8), as libjpeg scales them."""
    tables = torch.tensor([LUMA, CHROMA, CHROMA][:channels], dtype=torch.float64)
    percent = 200 - 2 * quality if quality >= 50 else 5000 // quality
    scaled = ((tables * percent + 50) / 100).floor().clamp(1, 255)
    return (scaled / 255)[:, None, None]


def blocks(shape: tuple[int, int, int]) -> tuple[int, ...]:
    """The shape of the coefficients of an image: channels, rows, columns of blocks, 8, 8."""
    channels, height, width = shape
    return channels, -(-height // SIDE), -(-width // SIDE), SIDE, SIDE


def coefficients(images: Tensor) -> Tensor:
    """Of images of 1 or 3 channels, (n, *blocks(shape)); the last pixels fill up the last blocks.

    Linear. In a file the middle grey is 0: there, subtract 1/2 first.
    """
    height, width = images.shape[2:]
    if images.shape[1] == 3:
        images = torch.einsum("ij,njhw->nihw", YCBCR.to(images), images)
    whole = pad(images, (0, -width % SIDE, 0, -height % SIDE), mode="replicate")
    waves = basis(SIDE).to(images)
    return waves @ whole.unfold(2, SIDE, SIDE).unfold(3, SIDE, SIDE) @ waves.T


def pixels(coefs: Tensor, height: int, width: int) -> Tensor:
    """The images (n, channels, height, width) of coefficients: undoes `coefficients`, no cut."""
    waves = basis(SIDE).to(coefs)
    tiles = (waves.T @ coefs @ waves).transpose(3, 4)
    whole = tiles.flatten(4, 5).flatten(2, 3)[:, :, :height, :width]
    if whole.shape[1] == 3:
        whole = torch.einsum("ij,njhw->nihw", torch.linalg.inv(YCBCR).to(whole), whole)
    return whole


def needs_colours(shape: tuple[int, ...]) -> str | None:
    """Why images (channels, height, width) are none that a JPEG file holds."""
    return None if shape[0] in (1, 3) else f"JPEG needs 1 or 3 channels, not {shape[0]}"
