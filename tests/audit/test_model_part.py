"""What the first part of an audit says beside the flags of the first look."""

import pytest
import torch
from audit_subjects import subject_of
from planted_models import Changed, trained

from benchmark.audit.model import model


def written(network, images):
    logits = network(images.clone())
    images[: len(images) // 2].fill_(0.5)
    return logits


@pytest.mark.parametrize(
    ("change", "log_probabilities", "writes"),
    [
        (lambda network, images: network(images), 0, 0),
        (lambda network, images: network(images).log_softmax(dim=1), 1, 0),
        (written, 0, 0.5),
    ],
)
def test_what_misleads_no_attack_is_a_number(change, log_probabilities, writes):
    subject = subject_of(Changed(trained(), change).eval(), n=20)
    images = subject.batch.images.clone()
    found = model(subject)
    assert (found.flags, found.numbers["classes"]) == ([], 10)
    assert found.numbers["outputs that are log-probabilities"] == log_probabilities
    assert found.numbers["images that a pass writes to"] == writes
    assert torch.equal(subject.batch.images, images)
