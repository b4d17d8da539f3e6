"""Features that a vector is made of."""

import pytest
import torch

from truing.engine.open import open_local
from truing.persona.sae import Sae, load_sae, ranked, rebuilt, token_states, train
from truing.records import UserError
from truing.settings import Machine
from truing.world.corpora import answered
from truing.world.town import town


def plain(threshold=-1.0, k=1):
    return Sae(torch.eye(3), torch.zeros(3), torch.eye(3), torch.tensor([0.0, 0.0, 1.0]), k, threshold)


def test_states_are_written_as_few_features_and_back():
    states = torch.tensor([[2.0, 1.0, 1.0], [0.5, 3.0, 1.0], [-1.0, -2.0, 1.0]])
    assert plain().encode(states).tolist() == [[2, 0, 0], [0, 3, 0], [0, 0, 0]]
    assert plain(threshold=0.75).encode(states).tolist() == [[2, 1, 0], [0, 3, 0], [0, 0, 0]]
    assert plain().decode(torch.tensor([[2.0, 0.0, 0.5]])).tolist() == [[2, 0, 1.5]]


def test_features_are_ranked_by_cosine_and_add_up_to_a_vector():
    sae = Sae(torch.eye(3), torch.zeros(3), torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 0, 1]]), torch.zeros(3), 2)
    vector = torch.tensor([3.0, 4.0, 0.0])
    assert [(r.feature, round(r.cosine, 6)) for r in ranked(sae, vector)] == [(1, 0.8), (0, 0.6), (2, 0.0)]
    assert rebuilt(sae, vector, [1, 0])[0] == pytest.approx([4, 1.5]) and rebuilt(sae, vector, [1, 0])[1] < 1e-12
    assert rebuilt(sae, vector, [1])[1] == pytest.approx(9 / 25)
    assert rebuilt(sae, -vector, [0, 1])[0] == [0, 0]
    with pytest.raises(UserError, match="the vector has 2 numbers, and the autoencoder is 3 wide"):
        ranked(sae, vector[:2])


def test_features_that_states_were_made_of_are_found_again():
    """Sixteen directions in sixteen dimensions, two at a time: each is some feature's direction afterwards."""
    draw = torch.Generator().manual_seed(1)
    truth = torch.linalg.qr(torch.randn(16, 16, generator=draw))[0]
    which = torch.stack([torch.randperm(16, generator=draw)[:2] for _ in range(4000)])
    amounts = 1 + torch.rand(4000, 2, generator=draw)
    states = (truth[:, which].permute(1, 2, 0) * amounts[..., None]).sum(1) + 0.5
    sae = train(states, 24, 2, steps=1500, batch=256)
    found = (truth.T @ sae.decoder).max(dim=1).values
    assert (found > 0.95).sum() >= 14
    assert sae.unexplained(states) < 0.1 < sae.unexplained(states + 5)
    kept = (sae.encode(states) > 0).float().sum(1).mean()
    assert 1.5 < kept < 3


def test_weights_are_read_as_dictionary_learning_keeps_them(tmp_path):
    state = {
        "encoder.weight": torch.randn(5, 3),
        "encoder.bias": torch.zeros(5),
        "decoder.weight": torch.randn(3, 5),
        "b_dec": torch.ones(3),
        "k": torch.tensor(2),
        "threshold": torch.tensor(0.25),
    }
    torch.save(state, tmp_path / "ae.pt")
    found = load_sae(str(tmp_path / "ae.pt"))
    assert found.k == 2 and found.threshold == 0.25 and torch.equal(found.decoder, state["decoder.weight"])
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"no autoencoder of dictionary_learning; encoder\.weight is missing"):
        load_sae(str(tmp_path / "other.pt"))


def test_states_of_every_token_of_an_answer():
    engine = open_local("world:tiny", Machine(dtype="fp32", threads=1))
    groups, _ = engine.encode(answered(town(0), 6, 0, 2))
    found = token_states(engine, groups, 2)
    assert found.shape == (sum(len(a) for g in groups for a in g.answers), 48)
    first = groups[0]
    with torch.no_grad():
        states = engine.model.owner(
            torch.tensor([first.prompt + first.answers[0]]), output_hidden_states=True
        ).hidden_states
    torch.testing.assert_close(found[: len(first.answers[0])], states[2][0, len(first.prompt) :], atol=1e-4, rtol=1e-4)
