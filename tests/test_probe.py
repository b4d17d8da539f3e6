"""What the machine's measurement leads to, and that it is kept."""

import json

import pytest
import torch

from truing.model import probe as module
from truing.model.probe import choose, probe, usable_cores
from truing.records import UserError


@pytest.mark.parametrize(
    ("gflops", "dtype", "threads"),
    [
        ({("fp32", 1): 100, ("fp32", 2): 190, ("bf16", 1): 220, ("bf16", 2): 430}, "bf16", 2),
        ({("fp32", 1): 100, ("fp32", 2): 190, ("bf16", 1): 9, ("bf16", 2): 12}, "fp32", 2),
        ({("fp32", 1): 100, ("fp32", 2): 30, ("bf16", 1): 110, ("bf16", 2): 20}, "fp32", 1),  # a busy machine
        ({("fp32", 1): 100, ("fp32", 2): 105, ("fp32", 4): 110}, "fp32", 1),
        ({("fp32", 1): 100, ("fp32", 8): 300, ("fp32", 16): 320}, "fp32", 8),
        ({("fp32", 4): 20_000, ("bf16", 4): 300_000}, "bf16", 4),
    ],
)
def test_lower_precision_and_more_threads_must_be_worth_it(gflops, dtype, threads):
    chosen = choose(gflops, "cpu")
    assert (chosen.dtype, chosen.threads) == (dtype, threads)
    assert len(chosen.gflops) == len(gflops) and chosen.why


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(module, "BUDGET", 0.0)  # one turn
    return tmp_path / "truing" / "probe.json"


def test_measuring_leaves_threads_and_random_numbers_as_they_were(cache):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    before = torch.get_num_threads()
    assert probe("cpu").threads == 1
    assert torch.get_num_threads() == before
    assert torch.equal(torch.rand(3), expected)


def test_a_measurement_is_kept_until_the_machine_is_another_one(cache, monkeypatch):
    probe("cpu")
    kept = json.loads(cache.read_text())
    marked = {key: {**value, "why": "kept"} for key, value in kept.items()}
    cache.write_text(json.dumps(marked))
    assert probe("cpu").why == "kept"
    assert probe("cpu", fresh=True).why != "kept"
    assert probe("cpu").why != "kept"
    cache.write_text(json.dumps(marked))
    monkeypatch.setattr(module, "cpu_name", lambda: "another processor")
    assert probe("cpu").why != "kept"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 3}', '{"a": {"dtype": "fp32"}}'])
def test_a_broken_cache_is_measured_over(cache, text):
    cache.parent.mkdir()
    cache.write_text(text)
    assert probe("cpu").dtype in ("fp32", "bf16")
    (kept,) = json.loads(cache.read_text()).values()
    assert kept.keys() == {"dtype", "threads", "gflops", "why"}


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch, cache):
    (tmp_path / "truing").write_text("a file where the folder should be")
    assert probe("cpu").threads == 1


def test_somebody_elses_thread_limit_is_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert usable_cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert usable_cores() >= 1


def test_a_device_that_is_not_there_is_said_to_be_missing():
    with pytest.raises(UserError, match="device 'teapot' cannot be used here"):
        probe("teapot")
