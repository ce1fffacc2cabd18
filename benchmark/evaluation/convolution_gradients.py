"""Two ways to the gradient of a convolution at its images, as pure functions of the weights.

Both take the gradient at the answers, (batch, outputs, ...), weights (outputs, channels, ...) and
the size (height, width) of the images; groups and dilation are 1. Returns (batch, channels, *size).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import conv2d, fold, pad

Pair = tuple[int, int]
"""Of rows and of columns."""


def by_columns(gradient: Tensor, weight: Tensor, size: Pair, stride: Pair, padding: Pair) -> Tensor:
    """One product, and a sum of what meets in a pixel."""
    columns = weight.flatten(1).t() @ gradient.flatten(2)
    return fold(columns, size, weight.shape[2:], padding=padding, stride=stride)


def by_phases(gradient: Tensor, weight: Tensor, size: Pair, stride: Pair, padding: Pair) -> Tensor:
    """One convolution without stride gives the pixels of each phase, which then take their places.

    Pixel q * stride + phase is met by gradient q + d through tap phase + padding - d * stride: by
    about kernel / stride gradients in a row (sub-pixel convolution, Shi et al. 2016).
    """
    sizes = zip(weight.shape[2:], stride, padding, size, gradient.shape[2:], strict=True)
    down, right = (_phases(*sizes_of_one) for sizes_of_one in sizes)
    filled, (outputs, channels) = pad(weight, (*right.fill, *down.fill)), weight.shape[:2]
    taps = filled.view(outputs, channels, down.taps, stride[0], right.taps, stride[1]).flip(2, 4)
    kernels = taps.permute(1, 3, 5, 0, 2, 4).flatten(0, 2)
    answers = conv2d(gradient, kernels, padding=(down.border, right.border))
    answers = answers.view(-1, channels, *stride, *answers.shape[2:])
    answers = answers[..., down.first :, right.first :]
    found = gradient.new_empty(len(gradient), channels, *size)
    for row in range(stride[0]):
        for column in range(stride[1]):
            places = found[:, :, row :: stride[0], column :: stride[1]]
            height, width = places.shape[2:]
            places.copy_(answers[:, :, row, column, :height, :width])
    return found


class _Phases(NamedTuple):
    """One direction of `by_phases`."""

    taps: int
    """Of each phase."""
    fill: Pair
    """Zeros before and behind the kernel, so that every phase has as many taps."""
    border: int
    """Zeros around the gradients."""
    first: int
    """Where the answer for the first pixels is."""


def taps_of(kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Of each phase in one direction, and how many zeros fill the first one up at the beginning.

    >>> taps_of(3, 2, 1)  # no tap and tap 1 meet the even pixels, taps 0 and 2 the odd ones
    (2, 1)
    """
    before = -padding % stride
    return -(-(before + kernel) // stride), before


def _phases(kernel: int, stride: int, padding: int, size: int, gradients: int) -> _Phases:
    taps, before = taps_of(kernel, stride, padding)
    last = (before + padding) // stride  # the largest d
    missing = taps - 1 - last, -(-size // stride) + last - gradients  # at either end
    border = max(0, *missing)
    return _Phases(taps, (before, taps * stride - kernel - before), border, border - missing[0])
