"""What this machine computes fastest, measured: the dtype and the number of threads that training should use.

The measurement is a small training step (two linear layers, forward and backward, and an update), for each dtype and
several thread counts in turns. On a busy machine two threads can be far slower than one, and bfloat16 without hardware
support far slower than float32: neither can be read off the machine's description. Kept per machine in the cache
folder; `fresh` measures again.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from truing.records import UserError, fingerprint

Dtype = Literal["fp32", "bf16"]
DTYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}

TOKENS, WIDTH = 256, 256  # the shapes of a small model's feed-forward layer
FLOPS = 3 * 2 * TOKENS * WIDTH * (4 * WIDTH) * 2  # forward and twice as much backward, of two matrices
ROUNDS, BUDGET = 15, 1.0  # at most so many turns, in about so many seconds
WORTH = 1.15  # lower precision, or another thread, must bring at least so much


@dataclass(frozen=True)
class Probe:
    """The choice, the figures it was made from (`gflops["bf16 x 2"]`: bfloat16 with two threads), and the reason."""

    dtype: Dtype
    threads: int
    gflops: dict[str, float]
    why: str


def probe(device: str = "auto", fresh: bool = False) -> Probe:
    """The fastest dtype and thread count here; from the cache unless this machine is new or `fresh`."""
    device = resolve_device(device)
    file = _cache_folder() / "probe.json"
    known, key = _read(file), _key(device)
    if not fresh and key in known:
        return Probe(**known[key])
    result = choose(_measure(device), device)
    _write(file, {**known, key: asdict(result)})
    return result


def resolve_device(device: str) -> str:
    """`auto` is the GPU if there is one."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device '{device}' cannot be used here: {str(error).splitlines()[0]}") from None
    return device


def usable_cores() -> int:
    """Cores this process may use. OMP_NUM_THREADS is somebody's decision: more than that is not tried."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdigit() and int(limit) > 0 else cores


def choose(gflops: dict[tuple[Dtype, int], float], device: str) -> Probe:
    """The fastest, but float32 rather than bfloat16 and few threads rather than many where the gain is small."""
    best: dict[Dtype, int] = {}
    for dtype in dict.fromkeys(dtype for dtype, _ in gflops):
        counts = sorted(threads for d, threads in gflops if d == dtype)
        top = max(gflops[dtype, threads] for threads in counts)
        best[dtype] = next(threads for threads in counts if gflops[dtype, threads] * WORTH >= top)
    winner: Dtype = "fp32"
    if "bf16" in best and gflops["bf16", best["bf16"]] >= WORTH * gflops["fp32", best["fp32"]]:
        winner = "bf16"
    figures = {f"{dtype} x {threads}": round(value, 1) for (dtype, threads), value in gflops.items()}
    return Probe(winner, best[winner], figures, _why(gflops, best, winner, device))


def _why(gflops: dict[tuple[Dtype, int], float], best: dict[Dtype, int], winner: Dtype, device: str) -> str:
    rate = {dtype: gflops[dtype, threads] for dtype, threads in best.items()}
    reasons = []
    if len(rate) == 2:
        share = rate["bf16"] / rate["fp32"]
        reasons.append(f"bf16 does {rate['bf16']:.0f} GFLOP/s and fp32 {rate['fp32']:.0f} ({share:.1f} times as many)")
    if device.startswith("cpu"):
        others = {threads: value for (dtype, threads), value in gflops.items() if dtype == winner}
        listed = ", ".join(f"{threads}: {value:.0f}" for threads, value in sorted(others.items()))
        reasons.append(f"by threads, {winner} does {listed} GFLOP/s" if len(others) > 1 else "one thread may be used")
    return "; ".join(reasons)


# ── measuring ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _measure(device: str) -> dict[tuple[Dtype, int], float]:
    """GFLOP/s of each candidate: the median over rounds in which all take turns, so that a busy moment hits all."""
    before, candidates = torch.get_num_threads(), [(d, n) for d in DTYPES for n in _thread_counts(device)]
    times: dict[tuple[Dtype, int], list[float]] = {candidate: [] for candidate in candidates}
    try:
        steps = {dtype: _training_step(device, dtype) for dtype in DTYPES}
        for step in steps.values():
            step()  # the first one also sets kernels up
        end = time.perf_counter() + BUDGET
        for _ in range(ROUNDS):
            for dtype, threads in candidates:
                torch.set_num_threads(threads)
                times[dtype, threads].append(_time(steps[dtype], device))
            if time.perf_counter() > end:
                break
    finally:
        torch.set_num_threads(before)
    return {candidate: FLOPS / statistics.median(taken) / 1e9 for candidate, taken in times.items()}


def _thread_counts(device: str) -> list[int]:
    cores = usable_cores()
    if not device.startswith("cpu"):
        return [min(cores, 4)]  # the CPU only hands out work
    return sorted({cores, *(2**k for k in range(cores.bit_length()) if 2**k <= cores)})


def _training_step(device: str, dtype: Dtype) -> Callable[[], None]:
    # Constants, because a measurement must not move the random streams of the run that asks for it.
    up = torch.full((4 * WIDTH, WIDTH), 0.01, device=device, requires_grad=True)
    down = torch.full((WIDTH, 4 * WIDTH), 0.01, device=device, requires_grad=True)
    x = torch.full((TOKENS, WIDTH), 0.1, device=device, dtype=DTYPES[dtype], requires_grad=True)

    def step() -> None:
        hidden = torch.nn.functional.gelu(x @ up.to(x.dtype).T)
        loss = (hidden @ down.to(x.dtype).T).float().square().mean()
        gradients: tuple[Tensor, ...] = torch.autograd.grad(loss, (up, down, x))
        with torch.no_grad():
            for weight, gradient in zip((up, down), gradients, strict=False):
                weight -= 1e-9 * gradient

    return step


def _time(step: Callable[[], None], device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


# ── remembering ──────────────────────────────────────────────────────────────────────────────────────────────────────


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _key(device: str) -> str:
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else cpu_name()
    return fingerprint([name, device, usable_cores(), torch.__version__, TOKENS, WIDTH])


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "truing"


def _read(file: Path) -> dict[str, dict]:
    try:
        known = json.loads(file.read_text())
        return {k: v for k, v in known.items() if v.keys() == Probe.__dataclass_fields__.keys()}
    except (OSError, ValueError, AttributeError):
        return {}  # a cache: whatever is wrong with it, measuring again puts it right


def _write(file: Path, known: dict[str, dict]) -> None:
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(known, indent=1))
        os.replace(draft, file)
    except OSError:
        with suppress(OSError):  # a home that cannot be written to costs a second per run, not the run
            draft.unlink()
