"""Colours in CIELUV, where equal distances look equally far: from sRGB and back, differentiably.

CIE 1976 L*u*v*, white D65; sRGB as in IEC 61966-2-1. The three numbers are scaled as ReColorAdv
does (Laidlaw & Feizi 2019, arXiv 1906.00001): L from 0 to 100, u and v from -100 to 100 become
[0, 1], which strong colours leave.
"""

from __future__ import annotations

import torch
from torch import Tensor

XYZ = torch.tensor(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
    dtype=torch.float64,
)
"""From linear red, green, blue to X, Y, Z; white has Y 1."""
DARK = 1e-4
"""A lightness below this is as good as none: black has no chromaticity."""


def chromaticity(xyz: Tensor) -> tuple[Tensor, Tensor]:
    """Chromaticity u' and v' of X, Y, Z (3, ...), each (...)."""
    x, y, z = xyz
    total = (x + 15 * y + 3 * z).clamp_min(1e-12)
    return 4 * x / total, 9 * y / total


U_WHITE, V_WHITE = (float(one) for one in chromaticity(XYZ.sum(dim=1)))
(U_LEAST, U_MOST), (V_LEAST, V_MOST) = (
    (float(one.min()), float(one.max())) for one in chromaticity(XYZ)
)
"""What red, green and blue span: no colour of a screen is outside."""


def to_luv(images: Tensor) -> Tensor:
    """Images (n, 3, height, width) in [0, 1] as scaled L, u, v, same shape."""
    linear = torch.where(images > 0.04045, ((images + 0.055) / 1.055) ** 2.4, images / 12.92)
    xyz = torch.einsum("ij,njhw->inhw", XYZ.to(images), linear)
    light = xyz[1]
    lightness = torch.where(
        light > (6 / 29) ** 3, 116 * light.clamp_min(1e-12) ** (1 / 3) - 16, (29 / 3) ** 3 * light
    )
    u, v = chromaticity(xyz)
    moved = 13 * lightness * (u - U_WHITE), 13 * lightness * (v - V_WHITE)
    return torch.stack([lightness / 100, *((one + 100) / 200 for one in moved)], dim=1)


def from_luv(luv: Tensor) -> Tensor:
    """Scaled L, u, v (n, 3, height, width) as images in [0, 1]; what no screen shows is cut.

    First lightness and chromaticity are cut to what a screen has, which keeps the way back of the
    gradient finite near black, then red, green and blue to [0, 1].
    """
    lightness = 100 * luv[:, 0].clamp(0, 1)
    scale = 13 * lightness.clamp_min(DARK)
    u = ((200 * luv[:, 1] - 100) / scale + U_WHITE).clamp(U_LEAST, U_MOST)
    v = ((200 * luv[:, 2] - 100) / scale + V_WHITE).clamp(V_LEAST, V_MOST)
    light = torch.where(lightness > 8, ((lightness + 16) / 116) ** 3, (3 / 29) ** 3 * lightness)
    xyz = torch.stack([9 * u / (4 * v), torch.ones_like(v), (12 - 3 * u - 20 * v) / (4 * v)])
    linear = torch.einsum("ij,jnhw->nihw", torch.linalg.inv(XYZ).to(luv), light * xyz)
    bright = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, bright, 12.92 * linear).clamp(0, 1)
