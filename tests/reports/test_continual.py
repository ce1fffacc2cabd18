"""The metrics of sequences, against matrices worked out by hand."""

import numpy as np
import pytest

from reports.statistics.continual import (
    average,
    backward_transfer,
    drift,
    forgetting,
    forward_transfer,
    worst_case,
)

A = np.array(
    [
        [0.1, 0.2, 0.3],  # the trained model
        [0.7, 0.3, 0.2],  # after attack 0
        [0.5, 0.6, 0.4],
        [0.4, 0.7, 0.8],
    ]
)


def test_by_hand():
    assert average(A) == pytest.approx((0.4 + 0.7 + 0.8) / 3)
    assert forgetting(A) == pytest.approx(((0.7 - 0.4) + (0.6 - 0.7)) / 2)
    assert backward_transfer(A) == pytest.approx(((0.4 - 0.7) + (0.7 - 0.6)) / 2)
    assert forward_transfer(A) == pytest.approx(((0.3 - 0.2) + (0.4 - 0.3)) / 2)
    assert drift(np.array([0.9, 0.8, 0.85])) == pytest.approx(-0.05)


def test_the_trained_model_can_be_forgotten_too():
    a = np.array([[0.9, 0.5], [0.3, 0.5], [0.2, 0.5]])
    assert forgetting(a) == pytest.approx(0.7)
    assert backward_transfer(a) == pytest.approx(-0.1), "which stage 1 lost already"


def test_what_never_changes_has_no_transfer_and_no_forgetting():
    a = np.full((4, 3), 0.5)
    assert (average(a), forgetting(a), backward_transfer(a), forward_transfer(a)) == (0.5, 0, 0, 0)


def test_forgetting_is_never_below_what_was_lost_since_arrival():
    draws = np.random.default_rng(0).uniform(size=(200, 5, 4))
    for a in draws:
        assert forgetting(a) >= -backward_transfer(a) - 1e-12


def test_verdicts_give_the_metrics_of_their_means():
    verdicts = np.random.default_rng(1).uniform(size=(4, 3, 2, 50)) < 0.6
    means = verdicts.mean(axis=(2, 3))
    for metric in (average, forgetting, backward_transfer, forward_transfer):
        assert metric(verdicts).shape == (2, 50)
        assert metric(verdicts).mean() == pytest.approx(metric(means))


def test_the_worst_case_is_per_image_not_of_the_means():
    verdicts = np.zeros((3, 2, 4), dtype=bool)
    verdicts[-1] = [[1, 1, 0, 0], [0, 1, 1, 0]]
    assert worst_case(verdicts).tolist() == [False, True, False, False]
    assert worst_case(verdicts).mean() < verdicts[-1].mean(axis=1).min()


@pytest.mark.parametrize("shape", [(3,), (3, 3), (2, 3), (1, 0)])
def test_what_is_no_sequence_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(stages"):
        average(np.zeros(shape))


@pytest.mark.parametrize("metric", [forgetting, backward_transfer, forward_transfer])
def test_one_arrival_has_no_transfer(metric):
    with pytest.raises(ValueError, match="at least 2 stages"):
        metric(np.zeros((2, 1)))
