"""PPO's losses, KL estimates and the entropy term on hand-made numbers."""

from __future__ import annotations

import math

import pytest
import torch
from build import build, close, flat, gradient, mean_loss, means

from truing.batch import Batch, Signals
from truing.objectives import (
    clipped_policy,
    clipped_value,
    entropy,
    gae,
    kl_estimate,
    kl_penalty,
    surrogate,
    token_rewards,
    whiten,
)

OLD = [[-1.0, -0.5, -2.0, -0.7], [-0.3, -1.5, -0.9]]
NEW = [[-0.7, -0.9, -1.9, -0.7], [-0.35, -1.1, -1.6]]
ADVANTAGE = [[1.0, 1.0, -0.5, -2.0], [-1.5, -0.8, 0.6]]
RATIO = [[1.349859, 0.670320, 1.105171, 1.0], [0.951229, 1.491825, 0.496585]]


def rollouts() -> Batch:
    return build([[4], [3]], None, {"old_logps": OLD, "advantage": ADVANTAGE})


def test_T3_policy_loss() -> None:
    losses, _ = clipped_policy(0.2)(Signals(logps=flat(NEW)), rollouts())
    close(losses, flat([[-1.2, -0.670320, 0.552585, 2.0], [1.426844, 1.193460, -0.297951]]))
    close(mean_loss(clipped_policy(0.2), rollouts(), logps=flat(NEW)), 0.429231)
    close(mean_loss(clipped_policy(math.inf), rollouts(), logps=flat(NEW)), 0.407823)
    expected = flat([[0, -0.095760, 0.078941, 0.285714], [0.203835, 0.170494, -0.042564]])
    close(gradient(clipped_policy(0.2), rollouts(), "logps", flat(NEW)), expected)


def test_T3_clip_fraction_and_drift() -> None:
    found = means(clipped_policy(0.2), rollouts(), logps=flat(NEW))
    close([found["policy/clipped"], found["policy/ratio"]], [1 / 7, flat(RATIO).mean().item()])
    close([found["policy/old_k1"], found["policy/old_k3"]], [0.05, 0.059284])
    close(kl_estimate(flat(OLD), flat(NEW), "k2").mean(), 0.065179)


def test_T3_dual_clip() -> None:
    batch = build([[1]], None, {"old_logps": [[0.0]], "advantage": [[-1.0]]})
    now = flat([[math.log(4)]])
    close(mean_loss(clipped_policy(0.2), batch, logps=now), 4.0)
    close(mean_loss(clipped_policy(0.2, dual=3.0), batch, logps=now), 3.0)
    good = build([[1]], None, {"old_logps": [[0.0]], "advantage": [[1.0]]})
    close(mean_loss(clipped_policy(0.2, dual=3.0), good, logps=now), -1.2)


def test_policy_gradient_is_the_surrogate_where_the_clip_does_not_bind() -> None:
    batch, logps = rollouts(), flat(NEW, grad=True)
    ratio, advantage = (flat(NEW) - flat(OLD)).exp(), batch.per_token["advantage"]
    binds = ((advantage > 0) & (ratio > 1.2)) | ((advantage < 0) & (ratio < 0.8))
    losses = surrogate(logps, advantage * ratio * ~binds, batch)
    expected = torch.autograd.grad(losses.sum() / batch.count("token"), logps)[0]
    close(gradient(clipped_policy(0.2), batch, "logps", flat(NEW)), expected, 1e-12)


def test_T4_value_loss() -> None:
    batch = build([[4]], None, {"old_values": [[0.2, 1.0, 0.1, 0.95]], "returns": [[1.0, 0.4, -0.5, 1.0]]})
    values = flat([[0.5, 1.15, -0.3, 0.9]])
    losses, _ = clipped_value(0.2)(Signals(values=values), batch)
    close(2 * losses, [0.36, 0.5625, 0.16, 0.01])
    close(mean_loss(clipped_value(0.2), batch, values=values), 0.1365625, 1e-12)
    close(mean_loss(clipped_value(None), batch, values=values), 0.1078125, 1e-12)
    close(means(clipped_value(0.2), batch, values=values)["value/clipped"], 0.5)
    close(gradient(clipped_value(0.2), batch, "values", values), [0, 0.1875, 0, -0.025], 1e-12)


def test_value_clip_is_pessimistic_both_ways() -> None:
    """Moved away from its return by more than eps, a value pays for the whole error and is pulled back."""
    batch, values = build([[1]], None, {"old_values": [[0.2]], "returns": [[-1.0]]}), flat([[0.5]])
    close(mean_loss(clipped_value(0.2), batch, values=values), 1.5**2 / 2, 1e-12)
    close(gradient(clipped_value(0.2), batch, "values", values), [1.5], 1e-12)


def test_T2_kl_estimators() -> None:
    policy, reference = flat([[-1.2, -0.5, -2.0, -0.3]]), flat([[-1.0, -0.8, -1.7, -0.9]])
    close(kl_estimate(policy, reference, "k1"), [-0.2, 0.3, -0.3, 0.6])
    close(kl_estimate(policy, reference, "k2"), [0.02, 0.045, 0.045, 0.18])
    close(kl_estimate(policy, reference, "k3"), [0.021403, 0.040818, 0.049859, 0.148812])


def test_T2_kl_estimators_in_expectation() -> None:
    p, q = flat([[0.5, 0.3, 0.2]]), flat([[0.2, 0.5, 0.3]])
    terms = {kind: kl_estimate(p.log(), q.log(), kind) for kind in ("k1", "k2", "k3")}
    mean = {kind: (p * x).sum() for kind, x in terms.items()}
    close(list(mean.values()), [0.223805, 0.265479, 0.223805])
    sd = [(p * (x - mean[kind]).square()).sum().sqrt() for kind, x in terms.items()]
    close(sd, [0.693447, 0.155219, 0.094893])


def test_T2_kl_estimators_under_another_sampler() -> None:
    """Sampled at temperature 0.8 and top-p 0.9, k1 goes negative although the KL is positive; k3 cannot."""
    policy = flat([[2, 1, 0.5, -1]]).log_softmax(0)
    reference = flat([[2.3, 1, 0.3, -1.2]]).log_softmax(0)
    sampler = flat([[0.694512, 0.198981, 0.106507, 0]])
    k1, k3 = kl_estimate(policy, reference, "k1"), kl_estimate(policy, reference, "k3")
    close([(policy.exp() * k1).sum(), (sampler * k1).sum(), (sampler * k3).sum()], [0.018545, -0.018936, 0.015382])


def test_kl_penalty_gradients_in_expectation() -> None:
    """As a loss, k1 teaches nothing and k2 what the KL itself would."""
    logits = torch.tensor([0.4, -0.3, 0.9], dtype=torch.float64, requires_grad=True)
    logps, reference = logits.log_softmax(0), torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64).log_softmax(0)
    batch = build([[3]], None, {"ref_logps": reference})
    chance = logps.exp()
    exact = torch.autograd.grad((chance * (logps - reference)).sum(), logits, retain_graph=True)[0]
    for kind, expected in [("k1", torch.zeros_like(exact)), ("k2", exact)]:
        losses, _ = kl_penalty(kind)(Signals(logps=logps), batch)
        found = torch.autograd.grad((chance.detach() * losses).sum(), logits, retain_graph=True)[0]
        close(found, expected, 1e-12)


def test_T6_entropy() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    found = torch.distributions.Categorical(logits=logits).entropy()
    close(found, [0.832396, 1.098612])
    batch = build([[2]])
    close(mean_loss(entropy(), batch, entropy=found), -0.965504)
    close(mean_loss(entropy(target=35.0), batch, entropy=found), 34.034496)
    for objective in (entropy(), entropy(target=35.0)):  # both ask for more entropy
        (grad,) = torch.autograd.grad(mean_loss(objective, batch, entropy=found), logits, retain_graph=True)
        close(2 * grad[0], [0.282588, -0.140770, -0.141817])
    (grad,) = torch.autograd.grad(mean_loss(entropy(target=0.9), batch, entropy=found), logits)
    close(2 * grad[0], [-0.282588, 0.140770, 0.141817])  # above the target, although this token lies below it


@pytest.mark.parametrize(("whitened", "policy", "total"), [(False, -0.518936, -0.510110), (True, -0.028123, -0.019297)])
def test_G11_ppo(whitened: bool, policy: float, total: float) -> None:
    old, new = flat([[-0.9, -1.1, -1.0]]), flat([[-0.5, -1.3, -1.0]])
    old_values, lengths = flat([[0.2, 0.3, 0.5]]), torch.tensor([3])
    kl = kl_estimate(old, flat([[-1.0, -1.0, -1.2]]))
    rewards = token_rewards(flat([[0.9]]), kl, lengths, 0.2)
    close(rewards, [-0.02, 0.02, 0.86])
    advantage, returns = gae(rewards, old_values, lengths, 1.0, 0.95)
    close(advantage, [0.6139, 0.562, 0.36])
    close(returns, [0.8139, 0.862, 0.86])
    if whitened:
        advantage = whiten(advantage, unbiased=True)
        close(advantage, [0.759897, 0.372991, -1.132887])
    numbers = {"old_logps": old, "advantage": advantage, "returns": returns, "old_values": old_values}
    batch, values = build([[3]], None, numbers), flat([[0.5, 0.35, 0.55]])
    close(mean_loss(clipped_policy(0.2), batch, logps=new), policy)
    value = mean_loss(clipped_value(0.2), batch, values=values)
    close(value, 0.088260)
    close(mean_loss(clipped_policy(0.2), batch, logps=new) + 0.1 * value, total)
