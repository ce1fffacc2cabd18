"""The nearest point of a hyperplane inside the box [0, 1], in linf and l2, without sorting.

What a hyperplane wants, sum_i w_i d_i = -excess, costs least (Croce & Hein 2020b) with
d_i = -sign(w_i) min(t s_i, room_i), where s_i is 1 in linf and |w_i| in l2, and room_i is the way
from pixel i to the edge of the box. The sum is then concave in t and made of straight lines:
Newton's method climbs to the root from below, and is there once it is on the right line.
"""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-30
HUGE = 1e12
NEWTON = 50
"""The most iterations; fewer than ten are usual."""


def to_hyperplane(points: Tensor, weights: Tensor, excess: Tensor, norm: str) -> Tensor:
    """The smallest d, (batch, n), with weights.d = -excess and points + d in [0, 1].

    `points`, `weights`: (batch, n); `excess`: (batch,), weights.point - offset: how far each point
    is from its hyperplane. All the room there is where that does not get there.
    """
    upwards = weights.sign().mul_(torch.where(excess >= 0, -1.0, 1.0)[:, None])  # or 0, or -1
    room = upwards.clamp_min(0).sub_(points).abs_()
    terms = weights.new_empty(len(weights), 2, weights.shape[1])
    gain, most = terms.unbind(dim=1)
    slope = torch.abs(weights, out=gain)
    torch.mul(slope, room, out=most)
    if norm == "linf":
        move = room.clamp_max_(_root(terms, room, excess.abs()))
    else:
        slope, end = slope.clone(), room / slope.clamp_min(TINY)
        gain.square_()
        move = torch.minimum(room, slope.mul_(_root(terms, end, excess.abs())))
    return move.mul_(upwards)


def _root(terms: Tensor, end: Tensor, wanted: Tensor) -> Tensor:
    """t, (batch, 1), with sum_i min(t gain_i, most_i) = wanted; HUGE if there is none.

    `terms`, (batch, 2, n): gain and most, since on a CPU both their sums over what has ended are
    quickest as one product. Term i grows until t is `end` = most_i / gain_i.
    """
    whole = terms[:, 0].sum(dim=1)
    way = (wanted / whole.clamp_min(TINY)).clamp_max_(HUGE)
    ended = torch.empty_like(end)
    for _ in range(NEWTON):
        torch.le(end, way[:, None], out=ended)  # as numbers: quicker than as bool
        still, spent = torch.bmm(ended[:, None], terms.mT)[:, 0].unbind(dim=1)
        further = ((wanted - spent) / (whole - still).clamp_min_(TINY)).clamp_max_(HUGE)
        if not (further > way).any():
            break
        way = torch.maximum(way, further)
    return way[:, None]
