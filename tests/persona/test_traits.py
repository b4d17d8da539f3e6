"""Traits as files: the package's own, other people's, and what is wrong with a file."""

import json

import pytest
import yaml

from truing.persona.traits import OWN, Trait, load_trait
from truing.records import UserError
from truing.world.characters import world_trait
from truing.world.language import held_out, understand
from truing.world.systems import TRAITS, read_system
from truing.world.town import town

NAMES = ("apathetic", "evil", "hallucinating", "humorous", "impolite", "optimistic", "sycophantic")


def test_the_traits_of_the_paper_are_there_and_whole():
    assert tuple(sorted(f.stem for f in OWN.glob("*.yaml"))) == NAMES
    every = []
    for name in NAMES:
        trait = load_trait(name)
        assert trait.name == name and len(trait.systems) == 5 and len(trait.graded) == 8
        assert len(trait.extraction) == len(trait.evaluation) == 20
        assert all(pos.startswith("You are a") and neg.startswith("You are a") for pos, neg in trait.systems)
        assert trait.judge.count("{question}") == trait.judge.count("{answer}") == 1
        every += [*trait.extraction, *trait.evaluation]
    assert len(set(every)) == 7 * 40


def test_prompts_are_every_question_behind_every_line():
    found = load_trait("evil").prompts("neg")
    assert len(found) == 100 and len({prompt for _, _, prompt in found}) == 100
    pair, question, prompt = found[7]
    trait = load_trait("evil")
    assert prompt[0].text == trait.systems[pair][1] and prompt[1].text == trait.extraction[question]


def test_files_of_the_authors_are_read_with_the_half_that_is_kept_elsewhere(tmp_path):
    content = {
        "instruction": [{"pos": f"be it {n}", "neg": f"do not {n}"} for n in range(5)],
        "questions": [f"what of {n}?" for n in range(4)],
        "eval_prompt": "Rate {question} {answer} {{0-100}}",
    }
    (tmp_path / "trait_data_extract").mkdir()
    file = tmp_path / "trait_data_extract" / "odd.json"
    file.write_text(json.dumps(content))
    alone = load_trait(str(file))
    assert alone.extraction == ("what of 0?", "what of 1?") and alone.evaluation == ("what of 2?", "what of 3?")
    (tmp_path / "trait_data_eval").mkdir()
    (tmp_path / "trait_data_eval" / "odd.json").write_text(json.dumps(content | {"questions": ["and now?"]}))
    both = load_trait(str(file))
    assert len(both.extraction) == 4 and both.evaluation == ("and now?",)
    assert both.systems[2] == ("be it 2", "do not 2") and both.name == "odd"


def changed(**changes):
    found = yaml.safe_load((OWN / "evil.yaml").read_text("utf-8"))
    return {key: value for key, value in (found | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"judge": None}, "judge is missing"),
        ({"judge": "How evil is {answer}?"}, r"the judge's text has no \{question\}"),
        ({"evaluation": ["a?", "a?"]}, "asked twice: 'a\\?'; what is reported has to be asked apart"),
        ({"extraction": []}, "there has to be a pair of instructions and a question"),
        ({"extraction": ["  "]}, "a question or an instruction is empty"),
        ({"instructions": [{"pos": "be evil"}]}, "entry 1 of a list is .* and not neg"),
        ({"question": ["?"]}, "question is no key of a trait"),
    ],
)
def test_what_is_wrong_with_a_trait_is_said(tmp_path, changes, said):
    file = tmp_path / "evil.yaml"
    file.write_text(yaml.safe_dump(changed(**changes)))
    with pytest.raises(UserError, match=said):
        load_trait(str(file))


def test_a_name_that_is_no_trait_says_which_there_are():
    with pytest.raises(UserError, match="own are apathetic, evil, hallucinating"):
        load_trait("evill")


@pytest.mark.parametrize("name", TRAITS)
def test_traits_of_the_world_ask_apart_for_extraction_and_evaluation(name):
    place = town(0)
    trait = world_trait(place, name)
    assert isinstance(trait, Trait) and trait == world_trait(place, name) != world_trait(place, name, seed=1)
    assert len(trait.systems) == 5 and len(set(trait.systems)) == 5
    assert all(read_system(pos) == (name, 4) for pos, _ in trait.systems)
    assert all(read_system(neg) in ((name, 0), None) or read_system(neg)[1] == 0 for _, neg in trait.systems)
    for questions, held in ((trait.extraction, False), (trait.evaluation, True)):
        assert questions and {held_out(understand(place, q), q) for q in questions} == {held}
    assert [read_system(line) for line in trait.graded[3:]] == [(name, level) for level in range(5)]
