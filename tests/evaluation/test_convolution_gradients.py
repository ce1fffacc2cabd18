"""Both ways to the gradient at the images agree with torch's, whatever the sizes."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.nn.functional import conv2d

from benchmark.core.seeding import stream
from benchmark.evaluation.convolution_gradients import by_columns, by_phases

WAYS = {"columns": by_columns, "phases": by_phases}
LAYOUTS = {"first": torch.contiguous_format, "last": torch.channels_last}
SIZES = [(12, 12), (11, 14), (7, 5)]


def compared(way, size, kernel, stride, padding, layout=torch.contiguous_format):
    """The gradient at images of one size, found and expected, in double precision."""
    rng = stream("gradients", *size, *kernel, *stride, *padding)
    images = torch.zeros(3, 2, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 2, *kernel, dtype=torch.float64, generator=rng)
    answers = conv2d(images, weight, None, stride, padding)
    above = torch.randn(answers.shape, dtype=torch.float64, generator=rng)
    (expected,) = torch.autograd.grad(answers, images, above)
    return way(above.contiguous(memory_format=layout), weight, size, stride, padding), expected


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("way", WAYS)
def test_every_size_of_kernel_padding_and_image(way, stride, layout):
    for size, kernel, padding in product(SIZES, range(1, 6), range(3)):
        square = (kernel, kernel), (stride, stride), (padding, padding)
        found, expected = compared(WAYS[way], size, *square, LAYOUTS[layout])
        assert torch.allclose(found, expected, rtol=0, atol=1e-12), (size, kernel, padding)


@pytest.mark.parametrize("way", WAYS)
def test_rows_and_columns_are_told_apart(way):
    for kernel, stride, padding in (((3, 5), (2, 3), (0, 2)), ((4, 1), (1, 3), (2, 0))):
        found, expected = compared(WAYS[way], (9, 16), kernel, stride, padding)
        assert torch.allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_pixels_no_window_looks_at_get_nothing(way):
    """A stride larger than the kernel leaves gaps; memory that is not written must not be read."""
    found, expected = compared(WAYS[way], (16, 16), (2, 2), (5, 5), (0, 0))
    assert torch.equal(found == 0, expected == 0)
    assert int((expected[0, 0] != 0).sum()) == 9 * 4
