"""Looking at a policy while it trains: one small sample pool per look, shared by all probes."""

from truing.watch.probes import PROBES, Look
from truing.watch.watcher import Rate, Watcher, check_names

__all__ = ["PROBES", "Look", "Rate", "Watcher", "check_names"]
