"""A language model with named heads: one trunk, one forward pass from a Batch to Signals.

All use of weights in a step happens inside one `forward` of one module, so that it can be sharded later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from truing.batch import Batch, Signals
from truing.model.attention import NAME, Tree, attending, tree_attention
from truing.model.hooks import Edit, Steering, over, places
from truing.model.hooks import steered as steering
from truing.model.logps import Head, divergence, likeliest, log_probs


class LanguageModel(nn.Module):
    """`owner` is the transformers model (causal LM, sequence or token classifier), possibly wrapped by peft.

    heads: "score" reads a preference at the end of an answer, "value" at the position before each of its tokens.
    """

    def __init__(self, owner: Any, heads: dict[str, nn.Linear] | None = None) -> None:
        super().__init__()
        self.owner = owner
        self.heads = nn.ModuleDict(heads or {})
        self.dropouts: list[nn.Module] = []  # of a fresh adapter; everything else stays in eval mode for good
        self.whole = False  # what is under the adapter is on no disk
        self.mean = False  # a score is read as the mean over the answer, not at its end
        self.writes = False  # beside a score it was trained to write, too: its output layer is saved with it
        self.steering: list[Steering] = []  # what is added between its blocks

    @property
    def base(self) -> Any:
        """The transformers model itself, without adapters around it."""
        return self.owner.get_base_model() if hasattr(self.owner, "get_base_model") else self.owner

    @property
    def trunk(self) -> nn.Module:
        return getattr(self.base, self.base.base_model_prefix)

    @property
    def device(self) -> torch.device:
        return next(self.owner.parameters()).device

    @property
    def size(self) -> int:
        """Parameters without embeddings: the size that scaling laws are about."""
        apart = [module.weight for module in self.base.modules() if isinstance(module, nn.Embedding)]
        output = self.base.get_output_embeddings()
        known = {id(weight) for weight in (apart if output is None else [*apart, output.weight])}
        return sum(weight.numel() for weight in self.base.parameters() if id(weight) not in known)

    @property
    def output(self) -> Head | None:
        """The language-model head, or None for a model that only scores."""
        module = self.base.get_output_embeddings()
        if module is None or module.weight.shape[0] != self.base.get_input_embeddings().weight.shape[0]:
            return None
        config = self.base.config.get_text_config()
        scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1.0)
        return Head(
            module.weight, getattr(module, "bias", None), getattr(config, "final_logit_softcapping", None), scale
        )

    def hidden(self, batch: Batch) -> Tensor:
        """[rows * length, d] last hidden states."""
        return self._read(batch).last_hidden_state.flatten(0, 1)

    def layers(self, batch: Batch) -> list[Tensor]:
        """[rows * length, d] for each layer: 0 is the embedding, l what block l says. The last one stands behind the
        final norm, as transformers hands it out."""
        return [states.flatten(0, 1) for states in self._read(batch, output_hidden_states=True).hidden_states]

    def _read(self, batch: Batch, **more: Any) -> Any:
        """The trunk's output for a batch."""
        if batch.layout == "tree" and self.base.config._attn_implementation == NAME:
            # Any 4-D mask is passed through by transformers; ours is never read, the tree says who sees whom.
            mask: Any = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=batch.tokens.device)
            tree: Tree | None = Tree(batch.spans, batch.positions[0], batch.shared)
        elif batch.layout == "tree":
            raise RuntimeError(f"this model attends with {self.base.config._attn_implementation}, which knows no tree")
        else:
            lengths = torch.tensor([span[-1] for span in batch.spans], device=batch.tokens.device)
            mask, tree = (batch.positions < lengths[:, None]).long(), None
        with attending(tree), over(self.steering, places(batch)) if self.steering else nullcontext():
            return self.trunk(
                input_ids=batch.tokens, position_ids=batch.positions, attention_mask=mask, use_cache=False, **more
            )

    def forward(self, batch: Batch, needs: Collection[str] = ("logps",), temperature: float = 1.0) -> Signals:
        hidden = self.hidden(batch)
        signals = Signals()
        if not set(needs) <= {"scores"}:
            before = hidden[batch.source]
            self._token_signals(signals, before, batch, needs, temperature)
            if "values" in needs:
                signals.values = self.heads["value"](before).float()[:, 0]
            if "hidden" in needs:
                signals.hidden = before.float()
        if "scores" in needs:
            read = _mean_of_answers(hidden, batch) if self.mean else hidden[batch.end]
            signals.scores = self.heads["score"](read).float()[:, 0]
        return signals

    @torch.no_grad()
    def likeliest(self, batch: Batch, count: int) -> tuple[Tensor, Tensor]:
        """Log-probabilities and ids [N, count] of the likeliest tokens where each trained token is predicted."""
        if self.output is None:
            raise RuntimeError("a model that only scores has no log-probabilities")
        return likeliest(self.hidden(batch)[batch.source], self.output, count)

    @torch.no_grad()
    def divergence(self, batch: Batch, reference: LanguageModel | None) -> Tensor:
        """[N] KL from the reference where each trained token is predicted; None: from itself without its adapter."""
        models = [self, reference or self]
        found: list[tuple[Tensor, Head]] = []
        for model, apart in zip(models, (nullcontext(), nullcontext() if reference else self.without_adapter())):
            with apart:
                if model.output is None:
                    raise RuntimeError("a model that only scores has no log-probabilities")
                found.append((model.hidden(batch)[batch.source], model.output))
        return divergence(*found[0], *found[1])

    def _token_signals(
        self, signals: Signals, before: Tensor, batch: Batch, needs: Collection[str], temperature: float
    ) -> None:
        head = self.output
        if not {"logps", "logps_at", "entropy", "dist"} & set(needs):
            return
        if head is None:
            raise RuntimeError("a model that only scores has no log-probabilities")
        ids = batch.target[:, None]
        if "logps_at" in needs:
            ids = torch.cat([ids, batch.per_token["ids_at"].long()], dim=1)
        logps, signals.entropy = log_probs(before, head, ids, temperature=temperature, entropy="entropy" in needs)
        signals.logps = logps[:, 0]
        if "logps_at" in needs:
            signals.logps_at = logps[:, 1:]
        if "dist" in needs:
            signals.dist = torch.log_softmax(head.logits(before) / temperature, dim=1)

    @contextmanager
    def steered(self, configurations: Sequence[Sequence[Edit]]) -> Iterator[Steering]:
        """With these edits between its blocks, in the first configuration where nobody says which."""
        with steering(self.owner, configurations) as more:
            self.steering.append(more)
            try:
                yield more
            finally:
                self.steering.remove(more)

    @contextmanager
    def learning(self) -> Iterator[None]:
        """The adapter's dropout is on inside, and nowhere else."""
        for module in self.dropouts:
            module.train()
        try:
            yield
        finally:
            for module in self.dropouts:
                module.eval()

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """The frozen base under the adapter: the reference policy of a run that started there."""
        with self.owner.disable_adapter() if hasattr(self.owner, "disable_adapter") else nullcontext():
            yield


def _mean_of_answers(hidden: Tensor, batch: Batch) -> Tensor:
    """[A, d] the mean over each answer's tokens."""
    sums = hidden.new_zeros(batch.answers, hidden.shape[1]).index_add(0, batch.answer_of, hidden[batch.own])
    return sums / batch.lengths()[:, None]


def new_head(model: LanguageModel, zero: bool = True, seed: int = 0, bias: bool = False) -> nn.Linear:
    """A scalar head for this trunk. Zero by default: a fresh preference model then starts at exactly ln 2."""
    weight = model.base.get_input_embeddings().weight
    head = nn.Linear(hidden_size(model.base), 1, bias=bias, dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        if bias:
            head.bias.zero_()
        if zero:
            head.weight.zero_()
        else:
            head.weight.normal_(0, 1 / head.in_features, generator=torch.Generator().manual_seed(seed))
    return head


def hidden_size(base: PreTrainedModel) -> int:
    return base.config.get_text_config().hidden_size


def compile_layers(model: LanguageModel) -> None:
    """Compile each block of the trunk, with lengths left open: one compilation serves all layers and batches.

    Attention stays out of it, because its loop over groups is another one in every batch.
    """
    AttentionInterface.register(NAME, torch.compiler.disable(tree_attention))
    stacks = [module for module in model.trunk.modules() if isinstance(module, nn.ModuleList)]
    for layer in max(stacks, key=len):
        layer.compile(dynamic=True)
