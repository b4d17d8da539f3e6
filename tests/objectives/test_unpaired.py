"""KTO against its formula, worked out without tensors."""

from __future__ import annotations

import math

import pytest
from build import build, close, flat, gradient

from truing.batch import Signals
from truing.objectives import kto

LOGPS = [[-0.5, -1.0, -0.25], [-0.8, -0.6], [-1.5, -3.1, -0.7]]
REF = [[-0.9, -1.1, -1.0], [-0.7, -0.9], [-1.2, -0.5, -0.9]]
GOOD, POINT, BETA = [1.0, 0.0, 0.0], 0.4, 0.1


def batch(point: float = POINT):  # type: ignore[no-untyped-def]
    return build([[3], [2], [3]], None, {"ref_logps": REF}, {"label": GOOD, "reference_point": [point] * 3})


def by_hand(weights: tuple[float, float]) -> list[float]:
    found = []
    for lp, ref, good in zip(LOGPS, REF, GOOD):
        gone = sum(lp) - sum(ref)
        apart = gone - POINT if good else POINT - gone
        found.append((weights[0] if good else weights[1]) * (1 - 1 / (1 + math.exp(-BETA * apart))))
    return found


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 1.33), (2.0, 0.5)])
def test_the_formula(weights: tuple[float, float]) -> None:
    losses, metrics = kto(BETA, *weights)(Signals(logps=flat(LOGPS)), batch())
    close(losses, by_hand(weights), 1e-12)
    good, count = metrics["rewards/good"]
    assert count == 1 and float(good) == pytest.approx(BETA * 1.25)


def test_good_answers_are_pulled_and_bad_ones_pushed() -> None:
    """dL/dln π = ∓ λ β σ (1 − σ), the same for every token of an answer; the reference point is a constant."""
    found = gradient(kto(BETA), batch(), "logps", flat(LOGPS))
    expected = []
    for value, good, lp in zip(by_hand((1.0, 1.0)), GOOD, LOGPS):
        expected += [(-1 if good else 1) * BETA * value * (1 - value) / 3] * len(lp)
    close(found, expected, 1e-12)


def test_at_the_reference_every_loss_is_a_half() -> None:
    losses, _ = kto(BETA)(Signals(logps=flat(REF)), batch(point=0.0))
    close(losses, [0.5, 0.5, 0.5], 1e-12)
