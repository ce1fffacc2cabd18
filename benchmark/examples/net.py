"""A model to try things with: `--defense benchmark/examples/net.py:Net`."""

import torch
from sklearn.datasets import load_digits
from torch import nn


def Net() -> nn.Module:
    """A linear classifier, fitted in a second to the first 1,000 images of scikit-learn's digits.

    Images (n, 1, 8, 8) in [0, 1] in, logits (n, 10) out. The last 397 images are those it is scored
    on. Fitted from zeros, so it is the same each time.
    """
    digits = load_digits()
    images = torch.tensor(digits.images[:1000] / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target[:1000])
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(100):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network
