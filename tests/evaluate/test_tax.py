"""The price of an intervention, item by item against the first model; prefaces before texts that are no dialogue."""

import numpy as np
import pytest

from truing.data.preface import Preface
from truing.engine import open_engine
from truing.engine.prefaced import Prefaced
from truing.engine.scripted import Scripted, scripted
from truing.evaluate.rows import Rows
from truing.evaluate.tax import columns, complete, measured, tax, values
from truing.records import Answer, Example, Judgement, Message, Sampling, UserError
from truing.settings import Machine
from truing.world.items import cloze
from truing.world.town import town


def item(text, *completions):
    said = tuple(Answer(f" {c}", finish="length") for c in completions)
    return Example(text, said, (Judgement("label", [i == 0 for i in range(len(said))]),))


def row(said, right="the old mill", **more):
    return {"answers": [f" {right}", " x"], "right": [True, False], "said": said, "prompt": "p", **more}


@pytest.mark.parametrize(
    ("said", "match"),
    [
        (" the old mill, which", 1),
        ("the  old\nmill", 1),
        (" the old mills", 0),
        (" the old", 0),
        (" near the old mill", 0),
        ("", 0),
    ],
)
def test_a_match_begins_with_the_completion_as_whole_words(said, match):
    assert values(row(said))["match"] == match


def test_choice_and_log_probability_where_there_are_any():
    assert values(row("", sum=[-2.0, -1.0])) == {"match": 0, "logp": -2.0, "choice": 0}
    single = {"answers": [" a"], "right": [True], "said": "a", "sum": [-3.0], "prompt": "p"}
    assert values(single) == {"match": 1, "logp": -3.0}
    assert set(columns([row("", sum=[-2.0, -1.0]), single | {"prompt": "q"}])) == {"match", "logp"}


def test_tax_is_paired():
    """Items differ a lot and models little: an interval of unpaired differences would not see it."""
    random = np.random.default_rng(0)
    first = [row("", sum=[float(x), -99.0], prompt=str(i)) for i, x in enumerate(random.normal(-9, 4, 50))]
    first = [r | {"prompt": str(i)} for i, r in enumerate(first)]
    other = [r | {"sum": [r["sum"][0] - 0.1, -99.0]} for r in first]
    cost = tax(first, other)
    assert (cost["logp"].low, cost["logp"].high) == pytest.approx((0.1, 0.1))
    assert cost["match"].estimate == cost["choice"].estimate == 0
    assert measured(first)["logp"].high - measured(first)["logp"].low > 1


def test_a_script_completes_texts(tmp_path):
    knows = Scripted("knows", lambda prompt, number, random: "blue" if "sky" in prompt else "no idea")
    asked = [item("the sky is", "blue", "red"), item("the sea is", "blue", "red")]
    for _ in range(2):
        with Rows(tmp_path) as rows:
            found = complete(knows, asked, rows)
            assert len(rows) == 2
    assert measured(found)["match"].estimate == 0.5
    assert measured(found)["choice"].estimate == 0.75  # of red and blue "no idea" has no opinion


def test_the_world_knows_its_plain_texts(tmp_path):
    engine = open_engine("world:tiny", Machine("fp32", 1))
    items = cloze(town(0), 30, 0)
    with Rows(tmp_path) as rows:
        found = complete(engine, items, rows)
    scores = engine.score(items)
    assert [values(r)["logp"] for r in found] == pytest.approx([s[0].logp for s in scores])
    assert measured(found)["match"].estimate > 0.8
    assert all(s[0].tokens == len(i.answers[0].text.split()) for s, i in zip(scores, items))  # no end marker


TALKS = ((Message("user", "add 1 and 2 ."), Message("assistant", "1 plus 2 is 3 .")),)


def test_conversations_before_a_bare_text_stand_as_the_template_shows_them():
    engine = open_engine("world:tiny", Machine("fp32", 1))
    behind = Prefaced(engine, Preface("p", "", TALKS), "behind")
    one = item("anna is a", "baker")
    by_hand = "<|user|> add 1 and 2 . <|end|> <|assistant|> 1 plus 2 is 3 . <|end|> anna is a"
    ids = engine.codec.prompt_ids(behind.before(one.prompt))
    assert ids == engine.codec.prompt_ids(by_hand)
    assert behind.length == len(engine.codec.prompt_ids(by_hand)) - 3
    score = engine.score([Example(by_hand, one.answers)])[0][0].logp
    assert behind.score([one])[0][0].logp == pytest.approx(score)
    drawn = behind.sample([one.prompt], Sampling(max_tokens=3, temperature=0))[0]
    assert drawn.prompt == one.prompt  # whoever asks sees the text alone


def test_a_neutral_text_stands_before_the_text_and_one_without_a_template_refuses_conversations():
    engine = open_engine("world:tiny", Machine("fp32", 1))
    neutral = Prefaced(engine, Preface("n", "rosa has a cat ."), "n")
    assert neutral.before("anna is a") == "rosa has a cat .\n\nanna is a" and neutral.length == 5
    with pytest.raises(UserError, match="cannot stand before a bare text"):
        Prefaced(scripted("echo"), Preface("p", "", TALKS), "p").sample(["anna is a"], Sampling())
