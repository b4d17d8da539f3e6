"""Advantages, whitening, running moments and what steers the KL."""

from __future__ import annotations

import json

import pytest
import torch
from build import close, flat

from truing.objectives import AdaptiveKL, RunningMoments, fold_head, gae, kl_estimate, token_rewards, whiten

LOGPS, REF = flat([[-1.2, -0.5, -2.0, -0.3]]), flat([[-1.0, -0.8, -1.7, -0.9]])
VALUES = flat([[0.2, 0.5, 0.4, 0.9]])
FOUR, SCORE = torch.tensor([4]), flat([[1.5]])


def rewards(kind: str = "k1") -> torch.Tensor:
    return token_rewards(SCORE, kl_estimate(LOGPS, REF, kind), FOUR, 0.1)


def test_T1_token_rewards() -> None:
    close(rewards(), [0.02, -0.03, 0.03, 1.44])
    close(rewards("k3"), [-0.002140, -0.004082, -0.004986, 1.485119])


@pytest.mark.parametrize(
    ("gamma", "lam", "advantage", "returns"),
    [
        (1, 0.95, [1.137807, 0.860850, 1.043000, 0.54], [1.337807, 1.360850, 1.443000, 1.44]),
        (1, 0.9, [1.025960, 0.784400, 1.016000, 0.54], [1.225960, 1.284400, 1.416000, 1.44]),
        (1, 1, [1.26, 0.94, 1.07, 0.54], [1.46, 1.44, 1.47, 1.44]),
        (1, 0, [0.32, -0.13, 0.53, 0.54], [0.52, 0.37, 0.93, 1.44]),
        (0.99, 0.95, [1.099050, 0.833652, 1.028870, 0.54], [1.299050, 1.333652, 1.428870, 1.44]),
    ],
)
def test_T1_gae(gamma: float, lam: float, advantage: list[float], returns: list[float]) -> None:
    found = gae(rewards(), VALUES, FOUR, gamma, lam)
    close(found[0], advantage)
    close(found[1], returns)


def test_T1_gae_bootstrap() -> None:
    advantage, returns = gae(rewards(), VALUES, FOUR, 1.0, 0.95, bootstrap=flat([[0.7]]))
    close(advantage, [1.737970, 1.492600, 1.708000, 1.240000])
    close(returns, [1.937970, 1.992600, 2.108000, 2.140000])


def test_T1_gae_score_after_the_end() -> None:
    kl = torch.cat([kl_estimate(LOGPS, REF), torch.zeros(1)])
    values = torch.cat([VALUES, flat([[0.3]])])
    five = torch.tensor([5])
    advantage, returns = gae(token_rewards(SCORE, kl, five, 0.1), values, five, 1.0, 0.95)
    close(advantage, [1.086365, 0.806700, 0.986000, 0.480000, 1.200000])
    close(returns, [1.286365, 1.306700, 1.386000, 1.380000, 1.500000])


def test_T1_gae_k3() -> None:
    close(gae(rewards("k3"), VALUES, FOUR, 1.0, 0.95)[0], [1.147398, 0.894251, 1.050877, 0.585119])


def test_T1_gae_unequal_lengths() -> None:
    """Answers of 1, 4 and 2 tokens beside each other see nothing of one another; only the last one is cut off."""
    lengths = torch.tensor([1, 4, 2])
    draw = torch.Generator().manual_seed(1)
    value, kl = torch.randn(2, 7, generator=draw, dtype=torch.float64)
    score, bootstrap = flat([[1.0, -2.0, 0.5]]), flat([[0.0, 0.0, 0.7]])
    reward = token_rewards(score, kl, lengths, 0.1)
    together = gae(reward, value, lengths, 0.9, 0.8, bootstrap)
    for a, part in enumerate((slice(0, 1), slice(1, 5), slice(5, 7))):
        alone = token_rewards(score[a : a + 1], kl[part], lengths[a : a + 1], 0.1)
        found = gae(alone, value[part], lengths[a : a + 1], 0.9, 0.8, bootstrap[a : a + 1])
        close(together[0][part], found[0], 1e-12)
        close(together[1][part], found[1], 1e-12)


def test_gae_with_lambda_1_is_return_minus_value() -> None:
    """Â_t = Σ_{l≥t} γ^{l−t} ρ_l + γ^{T−t+1} V_end − V_t, whatever the values in between."""
    advantage, _ = gae(rewards(), VALUES, FOUR, 0.9, 1.0, flat([[0.7]]))
    total, expected = 0.7, []
    for reward, value in zip(reversed(rewards().tolist()), reversed(VALUES.tolist())):
        total = reward + 0.9 * total
        expected.append(total - value)
    close(advantage, expected[::-1], 1e-12)


def test_an_answer_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        gae(rewards(), VALUES, torch.tensor([4, 0]))


BATCHES = [
    ([1, 2, 3, 4], 2.5, 1.290994, [0.774597, 1.549193, 2.323790, 3.098387], [-1.161895, -0.387298, 0.387298, 1.161895]),
    (
        [2, 6, -1, 5],
        2.75,
        2.251983,
        [0.888106, 2.664318, -0.444053, 2.220265],
        [-0.333040, 1.443172, -1.665199, 0.999119],
    ),
    ([10, 0, 3, 3], 3.166667, 2.918073, [3.426919, 0, 1.028076, 1.028076], [2.341728, -1.085191, -0.057115, -0.057115]),
]


def test_T5_running_reward_moments() -> None:
    moments = RunningMoments()
    for values, mean, std, scaled, normalised in BATCHES:
        scores = flat([values])
        moments.update(scores)
        close([moments.mean, moments.std], [mean, std])
        close(moments.scale(scores), scaled)
        close(moments.normalise(scores), normalised)
        close(moments.normalise(scores, clip=0.8), [min(max(x, -0.8), 0.8) for x in normalised])
    close([moments.mean, moments.std], [3.166667, 2.918073])


def test_T5_moments_of_parts_merge_and_resume() -> None:
    whole, first, second = RunningMoments(), RunningMoments(), RunningMoments()
    whole.update(flat([batch[0] for batch in BATCHES]))
    first.update(flat([BATCHES[0][0]]))
    second.update(flat([BATCHES[1][0] + BATCHES[2][0]]))
    first.merge(second)
    first.merge(RunningMoments())
    resumed = RunningMoments()
    resumed.load_state(json.loads(json.dumps(first.state())))
    assert resumed == first
    close([resumed.mean, resumed.var, resumed.count], [whole.mean, whole.var, whole.count], 1e-12)


def test_T5_far_from_zero_the_spread_survives() -> None:
    """A sum of squares would lose it: 1e9 has no digits left for a variance of 1.25."""
    moments = RunningMoments()
    for values in ([1, 2], [3, 4]):
        moments.update(flat([values]) + 1e9)
    close(moments.std, 1.290994)


@pytest.mark.parametrize("values", [[2.0], [2.0, 2.0, 2.0]])
def test_without_any_spread_scores_pass_unscaled(values: list[float]) -> None:
    moments = RunningMoments()
    moments.update(flat([values]))
    close(moments.scale(flat([values])), values)
    close(moments.normalise(flat([values])), [0.0] * len(values))


def test_T7_whitening() -> None:
    values = flat([[1, -2, 0.5], [3, 0]])
    population = flat([[0.310087, -1.550434, 0], [1.550434, -0.310087]])
    close(whiten(values), population)
    close(whiten(values, unbiased=True), flat([[0.277350, -1.386750, 0], [1.386750, -0.277350]]))
    close(whiten(values, shift_mean=False), population + 0.5)


def test_T8_composed_reward() -> None:
    moments = RunningMoments()
    for batch in BATCHES:
        moments.update(flat([batch[0]]))
    close(moments.normalise(flat([[7]])), [1.313652])
    score = moments.normalise(flat([[7]]), clip=0.8)
    reward = token_rewards(score, kl_estimate(LOGPS, REF), FOUR, 0.05)
    close(reward, [0.01, -0.015, 0.015, 0.77])
    advantage, returns = gae(reward, VALUES, FOUR, 1.0, 0.9)
    close(advantage, [0.52888, 0.2432, 0.398, -0.13])
    close(returns, [0.72888, 0.7432, 0.798, 0.77])


def test_T10_adaptive_kl() -> None:
    controller, found = AdaptiveKL(0.1, target=0.1, horizon=10_000), []
    for observed in (0.5, 0.02, 0.1):
        controller.update(observed, answers=256)
        found.append(controller.coefficient)
    close(found, [0.100512, 0.099997, 0.099997])
    resumed = AdaptiveKL(0.7, target=0.1, horizon=10_000)
    resumed.load_state(json.loads(json.dumps(controller.state())))
    assert resumed == controller


def test_T11_folded_head() -> None:
    moments = RunningMoments()
    for batch in BATCHES:
        moments.update(flat([batch[0]]))
    hidden, weight, bias = flat([[0.3, -0.2, 0.5]]), flat([[1, 2, -1]]), torch.tensor(0.4, dtype=torch.float64)
    raw = hidden @ weight + bias
    close(raw, -0.2)
    weight, bias = fold_head(weight, bias, moments)
    close(hidden @ weight + bias, -1.153730)
    close(hidden @ weight + bias, moments.normalise(raw), 1e-12)
