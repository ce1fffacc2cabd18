"""Sound models of unusual layers: attention, recurrence, norms."""

from __future__ import annotations

import torch
from sound_base import digits, headed, seeded
from torch import nn
from torch.nn.functional import conv2d, scaled_dot_product_attention


def rows_of_pixels(images):
    """A token per row: (batch, 8, 8)."""
    return images[:, 0]


class Tokens(nn.Module):
    """Something that turns (batch, 8, 32) into the same, over rows of pixels."""

    def __init__(self, inner):
        super().__init__()
        self.embed, self.inner = nn.Linear(8, 32), inner
        self.place = nn.Parameter(0.3 * torch.randn(8, 32))

    def forward(self, images):
        found = self.inner(self.embed(rows_of_pixels(images)) + self.place)
        return found[0] if isinstance(found, tuple) else found


@seeded
def transformer():
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    return headed(Tokens(nn.TransformerEncoder(layer, 1)))


@seeded
def transformer_norm_first():
    layer = nn.TransformerEncoderLayer(32, 2, 64, 0.0, "gelu", batch_first=True, norm_first=True)
    return headed(Tokens(nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)))


class OwnAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.Linear(32, 96)

    def forward(self, tokens):
        parts = self.parts(tokens).unflatten(2, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        return tokens + scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)


@seeded
def own_attention():
    return headed(Tokens(OwnAttention()))


class SelfAttention(nn.MultiheadAttention):
    def forward(self, tokens):
        return super().forward(tokens, tokens, tokens, need_weights=False)[0]


@seeded
def multihead_attention():
    return headed(Tokens(SelfAttention(32, 4, batch_first=True)))


@seeded
def lstm():
    return headed(Tokens(nn.LSTM(32, 24, batch_first=True, bidirectional=True)))


@seeded
def gru():
    return headed(Tokens(nn.GRU(32, 48, batch_first=True)))


class Cell(nn.Module):
    """A recurrent cell in a loop of Python's."""

    def __init__(self):
        super().__init__()
        self.cell = nn.RNNCell(8, 96)

    def forward(self, images):
        state = images.new_zeros(len(images), 96)
        states = [state := self.cell(row, state) for row in rows_of_pixels(images).unbind(1)]
        return torch.cat(states[3::4], 1)


@seeded
def recurrent_cell():
    return headed(Cell())


def convolutions(norm, pool=nn.AvgPool2d):
    """Where norms round, maxima over black pixels would be ties that their last bits decide."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), norm, nn.ReLU(), pool(2), nn.Conv2d(16, 16, 3), nn.GELU()
    )  # fmt: skip


def calibrated(body):
    """Running statistics of a pass in train mode."""
    body.train()
    body(digits()[0])
    return body


@seeded
def batch_norm():
    return headed(calibrated(convolutions(nn.BatchNorm2d(16, momentum=None))))


@seeded
def batch_norm_of_features():
    layers = nn.Flatten(), nn.Linear(64, 96), nn.BatchNorm1d(96, affine=False), nn.ReLU()
    return headed(calibrated(nn.Sequential(*layers)))


@seeded
def instance_norm():
    return headed(convolutions(nn.InstanceNorm2d(16, affine=True)))


@seeded
def instance_norm_that_tracks():
    return headed(calibrated(convolutions(nn.InstanceNorm2d(16, track_running_stats=True))))


@seeded
def group_norm():
    return headed(convolutions(nn.GroupNorm(4, 16)))


@seeded
def layer_norm():
    return headed(convolutions(nn.LayerNorm((16, 8, 8))))


@seeded
def rms_norm():
    return headed(convolutions(nn.RMSNorm((8, 8))))


@seeded
def local_response_norm():
    return headed(convolutions(nn.LocalResponseNorm(3)))


@seeded
def channels_last():
    return headed(convolutions(nn.Identity(), nn.MaxPool2d).to(memory_format=torch.channels_last))


class Standardised(nn.Conv2d):
    """Weights standardised for each output channel (Qiao et al. 2019)."""

    def forward(self, images):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return conv2d(images, weight / weight.std((1, 2, 3), keepdim=True), self.bias, padding=1)


@seeded
def weight_standardised():
    return headed(nn.Sequential(Standardised(1, 12, 3), nn.PReLU(), nn.AvgPool2d(2)))
