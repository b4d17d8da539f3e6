"""What stands before a conversation: files of two kinds, ablations, and the package's own."""

import pytest
from tiny import tiny, tiny_tokenizer

from truing.data.preface import Preface, load_preface, write_preface
from truing.engine import open_engine
from truing.engine.scripted import Scripted
from truing.records import Answer, Example, Message, Sampling, UserError
from truing.settings import Machine

TALKS = (
    (Message("user", "hi ?"), Message("assistant", "hello")),
    (Message("user", "a ?"), Message("assistant", "b"), Message("user", "c ?"), Message("assistant", "d")),
)
PREFACE = Preface("p", "Be good.", TALKS)
ASK = (Message("user", "why ?"),)


def test_the_own_prompt_has_what_it_should():
    own = load_preface("hhh")
    assert len(own.conversations) == 14
    words = len(own.preamble.split()) + sum(len(m.text.split()) for c in own.conversations for m in c)
    assert 4000 < words < 5200
    said = " ".join(m.text.lower() for c in own.conversations for m in c if m.role == "assistant")
    assert "i don't know" in said
    for refusal in ("i can't help with", "i won't help", "i'm not able to help", "i cannot assist"):
        assert refusal not in said
    assert len({c[0].text for c in own.conversations}) == 14


def test_ablations_are_beginnings():
    own = load_preface("hhh")
    assert load_preface("hhh#4").conversations == own.conversations[:4]
    alone = load_preface("hhh#0")
    assert (alone.preamble, alone.conversations) == (own.preamble, ())
    assert len({load_preface(f"hhh#{k}").fingerprint for k in (0, 1, 4, 14)}) == 4
    assert load_preface("hhh#14").fingerprint == own.fingerprint


def test_written_and_read_again(tmp_path):
    write_preface(PREFACE, tmp_path / "p.yaml")
    again = load_preface(str(tmp_path / "p.yaml"))
    assert (again.preamble, again.conversations) == ("Be good.", TALKS)
    (tmp_path / "line.txt").write_text("Be brief.\n")
    assert load_preface(str(tmp_path / "line.txt")).before(ASK) == (Message("system", "Be brief."), *ASK)


def test_one_system_line_in_front_whoever_wrote_it():
    found = PREFACE.before((Message("system", "You are Ann."), *ASK))
    assert [m.role for m in found] == ["system", *["user", "assistant"] * 3, "user"]
    assert found[0].text == "Be good.\n\nYou are Ann."
    assert Preface("p", "", TALKS).before(ASK)[0].role == "user"
    assert Preface("p", "Be good.").before("Once") == "Be good.\n\nOnce"
    with pytest.raises(UserError, match="as messages"):
        PREFACE.before("Once")


def test_a_question_that_stands_in_the_preface_is_found():
    assert PREFACE.holds([ASK, (Message("user", "C  ?"),), "hi ?"]) == ["C  ?", "hi ?"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("conversations:\n- turns:\n  - user: a\n", "conversation 1: turns go"),
        ("conversations:\n- turns:\n  - assistant: a\n  - user: b\n", "conversation 1: turns go"),
        ("conversations:\n- turns:\n  - just text\n", "conversation 1: a turn is"),
        ("conversations:\n- nothing\n", "conversation 1: turns go"),
        ("hello: 1\n", "neither a preamble"),
        ("a: [", "not YAML"),
    ],
)
def test_a_broken_file_is_named_with_its_place(tmp_path, content, words):
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(UserError, match=words):
        load_preface(str(tmp_path / "p.yaml"))


def test_what_cannot_be_loaded(tmp_path):
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "line.txt").write_text("x")
    for text, words in (
        ("nowhere.yaml", "own are hhh"),
        ("hhh#15", "only 14"),
        (f"{tmp_path}/empty.txt", "is empty"),
        (f"{tmp_path}/line.txt#2", "has none"),
    ):
        with pytest.raises(UserError, match=words):
            load_preface(text)


# Engines behind a preface


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("model")
    tiny("llama").save_pretrained(place)
    tiny_tokenizer().save_pretrained(place)
    return place


def test_a_model_behind_a_preface_is_the_model_with_the_preface_in_its_prompt(folder, tmp_path):
    write_preface(PREFACE, tmp_path / "p.yaml")
    machine = Machine("fp32", 1)
    bare, behind = open_engine(str(folder), machine), open_engine(f"{folder}+prompt:{tmp_path / 'p.yaml'}", machine)
    asked, settings = [ASK, (Message("user", "who ?"),)], Sampling(n=2, max_tokens=6, seed=1)
    full = bare.sample([PREFACE.before(p) for p in asked], settings)
    drawn = behind.sample(asked, settings)
    assert [[a.text for a in e.answers] for e in drawn] == [[a.text for a in e.answers] for e in full]
    assert [e.prompt for e in drawn] == asked
    said = [Example(p, (Answer("yes"), Answer("no"))) for p in asked]
    for mine, theirs in zip(
        behind.score(said), bare.score([Example(PREFACE.before(e.prompt), e.answers) for e in said])
    ):
        assert [s.logp for s in mine] == pytest.approx([s.logp for s in theirs], abs=1e-4)
    assert behind.fingerprint != bare.fingerprint
    assert behind.can == {"sample", "score"}


def test_a_preface_that_does_not_fit_is_refused_before_anything_is_asked(folder):
    long = Preface("long", "Be good.", TALKS * 40)
    write_preface(long, folder / "long.yaml")
    with pytest.raises(UserError, match="does not fit into the model's 512 tokens; take fewer conversations"):
        open_engine(f"{folder}+prompt:{folder / 'long.yaml'}", Machine("fp32", 1))
    with pytest.raises(UserError, match="prompt:hhh"):
        open_engine(f"{folder}+prompt:hhh#0", Machine("fp32", 1))  # a token for each letter


def test_one_preface_is_enough(folder):
    with pytest.raises(UserError, match="one preface"):
        open_engine(f"{folder}+prompt:hhh#0+prompt:hhh#1", Machine("fp32", 1))


def test_scripted_models_have_prefaces_too():
    heard = []

    def listen(prompt, number, random):
        heard.append(prompt)
        return "ok"

    from truing.engine.prefaced import Prefaced

    Prefaced(Scripted("ear", listen), PREFACE, "ear+p").sample([ASK], Sampling())
    assert heard == [PREFACE.before(ASK)]


def test_a_base_model_does_not_go_on_with_the_humans_turn(folder, monkeypatch):
    engine = open_engine(str(folder), Machine("fp32", 1))
    assert engine.codec.template.stop == ("\n\nHuman:",)
    long = Sampling(n=8, max_tokens=60)
    mark = engine.sample([ASK], long)[0].answers[0].text[10]
    monkeypatch.setattr(engine.codec.template, "stop", (mark,))
    answers = engine.sample([ASK], long)[0].answers
    assert not any(mark in a.text for a in answers)
    assert answers[0].finish == "stop"
    bare = engine.sample([mark + "a bare text has no turns"], long)[0].answers
    assert any(mark in a.text for a in bare)


def test_a_question_too_long_to_stand_behind_the_preface_is_refused_and_not_the_preface_cut(folder, tmp_path):
    write_preface(PREFACE, tmp_path / "p.yaml")
    behind = open_engine(f"{folder}+prompt:{tmp_path / 'p.yaml'}", Machine("fp32", 1))
    answer = Answer("yes")
    said = len(behind.codec.encode(Example(ASK, (answer,))).answers[0])
    room = behind.codec.max_tokens - len(behind.codec.prompt_ids(PREFACE.before((Message("user", ""),)))) - said
    fits, long = ((Message("user", "x" * length),) for length in (room, room + 1))  # a token for each letter
    few = Sampling(max_tokens=said)
    assert len(behind.sample([ASK, fits], few)) == 2
    with pytest.raises(UserError, match="with prompt 2 it does not fit"):
        behind.sample([ASK, long], few)
    assert behind.score([Example(fits, (answer,))])
    with pytest.raises(UserError, match=r"with example 2 .* it does not fit"):
        behind.score([Example(ASK, (answer,)), Example(long, (answer,))])


def test_one_preface_is_enough_for_a_teacher_too(folder):
    from truing.engine.open import without_preface
    from truing.spec import ModelSpec

    bare, preface = without_preface(ModelSpec.parse(f"{folder}+prompt:hhh#2"))
    assert str(bare) == str(folder) and preface is not None and len(preface.conversations) == 2
    assert without_preface(bare) == (bare, None)
    with pytest.raises(UserError, match="one preface"):
        without_preface(ModelSpec.parse("world:tiny+prompt:hhh#0+prompt:hhh#1"))
