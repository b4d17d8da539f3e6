"""Ratings from votes: who beats whom how often, as one number each.

    P(a beats b) = 1 / (1 + e^{r_b − r_a})  =  1 / (1 + 10^{(E_b − E_a)/400}),      E = (400 / ln 10) · r ≈ 173.72 · r

(Bradley & Terry, Biometrika 39, 1952.) Ratings are those that make the votes likeliest, with one player's fixed; a
draw is half a win for each. Standard errors come from the curvature of the likelihood and take votes as independent.
Votes of one conversation are not: `bootstrap` draws whole conversations.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from truing.stats.intervals import Interval

ELO = 400 / np.log(10)  # Elo points in one unit of a preference model's score


@dataclass(frozen=True, slots=True)
class Vote:
    """`won` is the share of the win that went to `a`: 1, 0, or a half for a draw."""

    a: str
    b: str
    won: float
    conversation: Hashable = None


@dataclass(frozen=True, slots=True)
class Ratings:
    """In units of a preference model's score, the anchor at 0. `covariance` is 0 in the anchor's row and column."""

    names: tuple[str, ...]
    values: np.ndarray
    covariance: np.ndarray

    def elo(self) -> dict[str, float]:
        return {name: float(ELO * value) for name, value in zip(self.names, self.values)}

    def errors(self) -> dict[str, float]:
        """Standard error of each against the anchor, in Elo."""
        return {name: float(ELO * e) for name, e in zip(self.names, np.sqrt(np.diag(self.covariance)))}

    def gap(self, a: str, b: str) -> tuple[float, float]:
        """Elo of `a` above `b`, and its standard error: less than the two errors added, they share the anchor's."""
        c = np.zeros(len(self.names))
        c[self.names.index(a)] += 1
        c[self.names.index(b)] -= 1
        return float(ELO * c @ self.values), float(ELO * np.sqrt(c @ self.covariance @ c))


def win_probability(a: float, b: float) -> float:
    """That an answer with score `a` is preferred to one with score `b`."""
    return float(expit(a - b))


def elo(score: float) -> float:
    """A difference of scores as a difference of Elo."""
    return float(ELO * score)


def score(elo: float) -> float:
    """… and back."""
    return float(elo / ELO)


def fit(votes: Sequence[Vote], anchor: str) -> Ratings:
    """The likeliest ratings. There are none where somebody never lost, never won, or never met the others."""
    names = tuple(sorted({name for vote in votes for name in (vote.a, vote.b)}))
    if anchor not in names:
        raise ValueError(f"the anchor {anchor!r} is in no vote")
    wins = _wins(votes, names)
    _check(wins, names)
    values, information = _likeliest(wins)
    at = names.index(anchor)
    free = [i for i in range(len(names)) if i != at]
    covariance = np.zeros_like(information)
    covariance[np.ix_(free, free)] = np.linalg.inv(information[np.ix_(free, free)])
    return Ratings(names, values - values[at], covariance)


def bootstrap(
    votes: Sequence[Vote], anchor: str, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Elo with percentile intervals over resampled conversations. A resample in which a rating does not exist is left
    out, and an interval most of whose resamples are is refused: there are too few votes."""
    names = fit(votes, anchor).names
    best, at = fit(votes, anchor).elo(), names.index(anchor)
    numbers: dict[Hashable, int] = {}
    tables: list[np.ndarray] = []
    for i, vote in enumerate(votes):
        label = ("vote", i) if vote.conversation is None else vote.conversation
        if label not in numbers:
            numbers[label] = len(tables)
            tables.append(np.zeros((len(names), len(names))))
        tables[numbers[label]] += _wins([vote], names)
    stacked, random, found = np.stack(tables), np.random.default_rng(seed), list[np.ndarray]()
    for _ in range(draws):
        times = np.bincount(random.integers(0, len(tables), len(tables)), minlength=len(tables))
        wins = np.tensordot(times, stacked, 1)
        if _has_ratings(wins):
            values, _ = _likeliest(wins)
            found.append(ELO * (values - values[at]))
    if len(found) < draws / 2:
        raise ValueError(f"too few votes: {draws - len(found)} of {draws} resamples have no ratings")
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: Interval(best[name], float(a), float(b), len(tables), level) for name, a, b in zip(names, low, high)}


def _wins(votes: Sequence[Vote], names: Sequence[str]) -> np.ndarray:
    """[i, j] how often i beat j."""
    index, wins = {name: i for i, name in enumerate(names)}, np.zeros((len(names), len(names)))
    for vote in votes:
        if not 0 <= vote.won <= 1:
            raise ValueError(f"a vote gives a share between 0 and 1 of the win, not {vote.won}")
        if vote.a == vote.b:
            raise ValueError(f"{vote.a} cannot play against itself")
        wins[index[vote.a], index[vote.b]] += vote.won
        wins[index[vote.b], index[vote.a]] += 1 - vote.won
    return wins


def _has_ratings(wins: np.ndarray) -> bool:
    """Ford's condition: however the players are parted in two, each side has won something from the other."""
    return bool(connected_components(wins > 0, directed=True, connection="strong")[0] == 1)


def _check(wins: np.ndarray, names: Sequence[str]) -> None:
    if _has_ratings(wins):
        return
    _, part = connected_components(wins > 0, directed=True, connection="strong")
    for p in range(part.max() + 1):
        inside = part == p
        won, lost = wins[inside][:, ~inside].sum(), wins[~inside][:, inside].sum()
        if not (won and lost):
            group = ", ".join(name for name, i in zip(names, inside) if i)
            how = (
                "never met the others" if not (won or lost) else f"never {'won' if lost else 'lost'} against the others"
            )
            raise ValueError(f"no ratings: {group} {how}")


def _likeliest(wins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Newton's method on the log-likelihood, which is concave; the information matrix with it. Ratings add up to 0."""
    games, n = wins + wins.T, len(wins)
    values = np.zeros(n)
    for _ in range(100):
        p = expit(values[:, None] - values[None, :])
        slope = (wins - games * p).sum(1)
        weight = games * p * (1 - p)
        information = np.diag(weight.sum(1)) - weight
        step = np.linalg.solve(information + 1.0 / n, slope)  # the constant direction is free: this keeps it at 0
        values = values + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-10:
            break
    return values, information
