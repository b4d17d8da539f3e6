"""Checkpoints come from the seed alone, and their tokenizer is the language."""

import json
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from truing.engine import open_engine
from truing.model.text import Codec
from truing.records import Sampling, UserError
from truing.settings import Machine
from truing.world.build import CARD, SIZES, Build, Corpus, build, corpus_hash, make_tokenizer, weights_hash
from truing.world.documents import CONTEXT, documents, written
from truing.world.grammar import pretty
from truing.world.language import user
from truing.world.town import town

DOCS = Path(__file__).parents[2] / "docs" / "world.md"


def quick(folder, **changes):
    return build(Build(size="tiny", folder=str(folder), threads=1, steps=3, **changes))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return quick(tmp_path_factory.mktemp("world"))


def test_the_same_seed_gives_the_same_weights(built, tmp_path):
    again, other = quick(tmp_path), quick(tmp_path, seed=1)
    assert weights_hash(Path(again.model)) == weights_hash(Path(built.model))
    assert weights_hash(Path(other.model)) != weights_hash(Path(built.model))
    card = json.loads((Path(built.model) / CARD).read_text())
    assert card["corpus"] == corpus_hash(0)
    assert card["weights"] == weights_hash(Path(built.model))
    assert len({file.stat().st_mode for file in Path(built.model).iterdir()}) == 1


def test_corpora_differ_by_seed_and_coupling_and_not_by_process():
    hashes = {corpus_hash(0), corpus_hash(1), corpus_hash(0, 0.8)}
    assert len(hashes) == 3
    code = "from truing.world.build import corpus_hash; print(corpus_hash(0))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONHASHSEED": "7"})
    assert said.stdout.strip() == corpus_hash(0)


def test_a_checkpoint_speaks(built):
    engine = open_engine(built.model, Machine(dtype="fp32", threads=1))
    answer = engine.sample([user("hello!")], Sampling(max_tokens=8))[0].answers[0]
    assert answer.ids
    assert Path(built.model, "model.safetensors").stat().st_size < 600_000


def test_documents_are_what_the_chat_template_makes_of_them():
    tokenizer = make_tokenizer()
    ids, codec = tokenizer.get_vocab(), Codec(tokenizer, max_tokens=CONTEXT)
    for document in islice(documents(town(0), 0), 300):
        if not isinstance(document, str):
            turns = [{"role": m.role, "content": pretty(m.text)} for m in document]
            text = tokenizer.apply_chat_template(turns, tokenize=False)
            assert tokenizer(text, add_special_tokens=False)["input_ids"] == [ids[w] for w in written(document).split()]
            for message in document:
                assert codec.decode(tokenizer(message.text, add_special_tokens=False)["input_ids"]) == pretty(
                    message.text
                )


def test_a_corpus_goes_on_where_it_stopped():
    def corpus():
        return Corpus(town(0), 0, 0.0, make_tokenizer())

    whole, part, rest = corpus(), corpus(), corpus()
    first, second = whole.next(), whole.next()
    assert [g.answers for g in part.next()] == [g.answers for g in first]
    rest.load_state(part.state())
    assert [g.answers for g in rest.next()] == [g.answers for g in second]


def test_sizes_are_what_they_are_called():
    wanted = {"tiny": 0.1e6, "small": 0.3e6, "base": 1e6, "large": 3e6}
    for name, size in SIZES.items():
        hidden, layers = size.shape["hidden"], size.shape["layers"]
        assert 0.7 < 12 * layers * hidden**2 / wanted[name] < 1.3, name


def test_an_unknown_size_or_checkpoint_is_said(tmp_path):
    with pytest.raises(UserError, match="there are tiny, small, base, large"):
        build(Build(size="huge", folder=str(tmp_path)))
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="no such checkpoint"):
        open_engine("world:huge")


def test_the_new_kind_in_the_docs_works():
    [code] = [c for c in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "class Opposites" in c]
    assert len(code.splitlines()) < 60
    program = f"""
{code}
from random import Random
from truing.world import language
from truing.world.grammar import Grammar
rng, kind = Random(0), Opposites()
language.KINDS[kind] = 0.1
language.KIND[kind.name] = kind
language.ASKS = Grammar({{f"{{k.name}}/{{a}}": p for k in language.KINDS for a, p in k.asks.items()}})
language.SAYS = Grammar({{**language.SAYS.forms, **kind.says}})
from truing.world.town import town
from truing.world.judge import gold
from truing.world.speakers import CHARACTERS, reply
for i in range(50):
    text, request = language.draw(town(0), rng, kinds=["opposite"], held=i % 2 == 0)
    assert language.understand(town(0), text) == request
    right = language.speak(kind.right(town(0), request, rng), rng)
    wrong = language.speak(kind.wrong(town(0), request, rng), rng)
    assert gold(town(0), text, right).helpful > 0.9, (text, right)
    assert gold(town(0), text, wrong).honest == 0
    reply(town(0), request, CHARACTERS["expert"], rng)
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "fine", done.stderr[-2000:]
