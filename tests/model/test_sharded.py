"""Hooks in models whose weights lie on several devices: two processes, and what one alone computes."""

import socket

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from truing.engine.open import open_local
from truing.model.hooks import Edit, Places, decoder_blocks, reading, steered
from truing.model.proof import prove
from truing.records import UserError
from truing.settings import Machine

TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10]])
WHERE = Places(torch.arange(6)[None] >= 3, torch.arange(6)[None] == 2)


def model():
    return open_local("world:tiny", Machine(dtype="fp32", threads=1)).model.owner


def looked(owner):
    """A steered pass: logits, and what a later layer says."""
    told = {}
    listening = reading(owner, [2], lambda layer, states: told.update({layer: states}))
    with steered(owner, [[Edit(1, torch.ones(48), 0.5)]]) as steering, steering.over(WHERE), listening, torch.no_grad():
        return owner(TOKENS).logits, told[2]


def work(rank, port, kind, wanted):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    mesh, owner = init_device_mesh("cpu", (2,)), model()
    refused = {"fsdp": "sharded by FSDP", "sequence": "lie in parts on several devices"}
    if kind == "tensor":
        for block in decoder_blocks(owner):
            plan = {"gate_proj": ColwiseParallel(), "up_proj": ColwiseParallel(), "down_proj": RowwiseParallel()}
            parallelize_module(block.mlp, mesh, plan)
    elif kind == "fsdp":
        for part in (*decoder_blocks(owner), owner):
            fully_shard(part, mesh=mesh)
    else:
        for block in decoder_blocks(owner):
            block.register_forward_hook(lambda module, args, out: DTensor.from_local(out, mesh, [Shard(1)]))
    if kind in refused:
        with pytest.raises(UserError, match=refused[kind]):
            prove(owner, {1})
        return
    assert "hooked and proven" in prove(owner, {1, 2})
    for mine, theirs in zip(looked(owner), wanted):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-3)
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fsdp", "tensor", "sequence"])
def test_two_processes_steer_as_one_does_or_are_refused(kind):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(work, (port, kind, looked(model())), nprocs=2)
