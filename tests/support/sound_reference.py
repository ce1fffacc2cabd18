"""What the tool should find, by a plain loop: nothing of ours but the images that are drawn.

FGSM and BIM start at the image, so nothing is random.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmark.core.seeding import stream
from benchmark.data.splits import minibatches, support_and_query

EPS, STEPS = 0.06, 5
LEARNING_RATE, UPDATES = 0.005, 10
"""Of adaptation."""


class Queries(NamedTuple):
    """Everything an attack asked about, its result last, and whether that broke each image."""

    images: list[torch.Tensor]
    broken: list[torch.Tensor]

    def verdict(self):
        """Whether an image withstood every query."""
        return ~torch.stack(self.broken).any(dim=0)


def slope(model, images, labels):
    """Gradient of each image's loss, and the logits."""
    asked = images.clone().requires_grad_()
    logits = model(asked * 1)
    (gradient,) = torch.autograd.grad(cross_entropy(logits, labels, reduction="sum"), asked)
    return gradient, logits.detach()


def ask(model, images):
    with torch.no_grad():
        return model(images.clone())


def bim(model, images, labels, steps=STEPS):
    """Steps of 2.5 * eps / steps along the sign of the gradient."""
    size = EPS if steps == 1 else 2.5 * EPS / steps
    low, high = (images - EPS).clamp(min=0), (images + EPS).clamp(max=1)
    queries, point = Queries([], []), images
    for _ in range(steps):
        gradient, logits = slope(model, point, labels)
        note(queries, point, logits, labels)
        point = (point + size * gradient.sign()).clamp(low, high)
    note(queries, point, ask(model, point), labels)
    return queries


def fgsm(model, images, labels):
    return bim(model, images, labels, steps=1)


def note(queries, images, logits, labels):
    queries.images.append(images)
    queries.broken.append(logits.argmax(1) != labels)


def examples(model, queries, labels, attack):
    """The last image where it breaks, else the first that did. Of FGSM, which asks about two, the
    one with the higher loss where both or none break."""
    chosen, taken = queries.images[-1].clone(), queries.broken[-1].clone()
    for images, broken in zip(queries.images[:-1], queries.broken[:-1], strict=True):
        chosen[broken & ~taken] = images[broken & ~taken]
        taken |= broken
    if attack is fgsm:
        losses = [cross_entropy(ask(model, i), labels, reduction="none") for i in queries.images]
        rows = (queries.broken[0] == queries.broken[1]) & (losses[0] >= losses[1])
        chosen[rows] = queries.images[0][rows]
    return chosen


def adapted(build, dataset, attack, episode, limit):
    """The model after SGD on the attacked support and as many clean images in each step."""
    model = build()
    support = support_and_query(dataset, 1, 0, episode, limit).support.batch()
    shown = examples(model, attack(model, *support), support.labels, attack)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    rng = stream("adapt", dataset.name, 0, episode)

    def clean():
        return next(iter(minibatches(dataset.train, dataset.classes, rng)))

    clean()  # the first draw only tells the loss before
    for _ in range(UPDATES):
        drawn = clean()
        images = torch.cat([shown, drawn.images])
        model.zero_grad()
        cross_entropy(model(images), torch.cat([support.labels, drawn.labels])).backward()
        with torch.no_grad():
            for one in (one for one in model.parameters() if one.grad is not None):
                one.copy_(one - LEARNING_RATE * one.grad)  # SGD, rounded once more than torch's
    return model


def expected(build, dataset, attack, episodes, limit):
    """The verdicts of a cell, as in its outcome: bool (episodes, n)."""
    model, query = build(), dataset.test.first(limit).batch()
    images, labels = query
    queries = attack(model, *query)
    stored = examples(model, queries, labels, attack)
    found = {"clean_before": [ask(model, images).argmax(1) == labels], "before": []}
    found["before"] = [queries.verdict() & found["clean_before"][0]]
    if not episodes:
        return found
    found |= {"clean": [], "static": [], "reattacked": []}
    for episode in range(episodes):
        learned = adapted(build, dataset, attack, episode, limit)
        right = ask(learned, images).argmax(1) == labels
        found["clean"].append(right)
        found["static"].append(ask(learned, stored).argmax(1) == labels)
        found["reattacked"].append(right & attack(learned, *query).verdict())
    return found


class InDouble(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model.double()

    def forward(self, images):
        return self.model(images.double())


def in_double(build):
    """The same models, which compute in double precision."""
    return lambda: InDouble(build()).eval()
