"""Nine published tasks: their rows as the hub has them, what is better in each, and what keeps a test honest."""

import json
from importlib import import_module

import pytest

import truing
from truing.data import comparisons, split
from truing.data.tasks import SPEC, TASKS, wrong_word
from truing.records import UserError

POST = {
    "id": "t3_x",
    "post": "My bread is flat.",
    "title": "Help",
    "subreddit": "baking",
    "site": None,
    "article": None,
}
SUMMARY = {
    "info": POST,
    "split": "train",
    "summaries": [{"text": " Flat bread.", "policy": "sup2", "note": "ok"}, {"text": "Bread!", "policy": "ref"}],
    "choice": 1,
    "worker": "w7",
    "batch": "batch3",
    "extra": {"confidence": None},
}
SWAG = {
    "ind": 4,
    "activity_label": "Baking",
    "ctx_a": "A man kneads dough.",
    "ctx_b": "he",
    "ctx": "A man kneads dough. He",
    "endings": ["sings.", "puts it into the oven.", "eats a chair.", "swims."],
    "source_id": "activitynet~v_x",
    "split": "train",
    "split_type": "indomain",
    "label": "1",
}
LAMBADA = {"text": '"Where is the bread?" she asked.\n"I have eaten," he said, "all of the bread'}


def rows_in(tmp_path, *rows):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def one(tmp_path, row, **options):
    (example,) = truing.read(rows_in(tmp_path, row), **options)
    return example


def best(example):
    return [answer.text for answer, rank in zip(example.answers, example.ranks()) if rank == 0]


def test_the_summary_that_was_chosen_is_better(tmp_path):
    example = one(tmp_path, SUMMARY)
    assert example.prompt == "SUBREDDIT: r/baking\nTITLE: Help\nPOST: My bread is flat.\nTL;DR:"
    assert best(example) == [" Bread!"] and [a.by for a in example.answers] == ["sup2", "ref"]
    assert example.judgements[0].by == "w7" and example.meta["batch"] == "batch3"
    news = {**SUMMARY, "info": {"post": None, "title": "Flour", "article": "It is dear."}, "choice": 0}
    assert one(tmp_path, news).prompt == "TITLE: Flour\nARTICLE: It is dear.\nTL;DR:"


def test_one_ending_against_three_that_are_alike(tmp_path):
    example = one(tmp_path, SWAG)
    assert example.prompt + best(example)[0] == "A man kneads dough. He puts it into the oven."
    assert example.ranks() == [1, 0, 1, 1]
    assert one(tmp_path, {**SWAG, "label": 1}).ranks() == [1, 0, 1, 1]  # as a number in the authors' own file


@pytest.mark.parametrize(
    ("row", "prompt", "texts"),
    [
        ({"baseline": "I bake.", "less_pleasant": "I burn it."}, "", ["I bake."]),
        ({"label": 0, "input": "I gave him bread."}, "", ["I gave him bread."]),  # 0: nothing wrong with it
        ({"label": 1, "input": "I took his bread.", "is_short": True, "edited": False}, "", []),
        ({"label": 1, "scenario": "I deserve bread, for I baked it."}, "", ["I deserve bread, for I baked it."]),
        ({"label": 1, "scenario": "Can you bake?", "excuse": "No, I am ill."}, "Can you bake?", [" No, I am ill."]),
        ({"label": 0, "scenario": "Can you bake?", "excuse": "No, it is red."}, "Can you bake?", []),
        ({"label": 1, "scenario": "She shares bread. [SEP] kind"}, "She shares bread.", [" kind"]),
        ({"label": 0, "scenario": "She shares bread.", "trait": "vain"}, "She shares bread.", []),
    ],
)
def test_the_five_parts_of_ethics(tmp_path, row, prompt, texts):
    example = one(tmp_path, row)
    label = example.judgements[0]
    good = best(example) if label.kind == "order" else [a.text for a, g in zip(example.answers, label.value) if g]
    assert (example.prompt, good) == (prompt, texts)


def test_other_rows_with_a_label_are_not_taken_for_ethics(tmp_path):
    with pytest.raises(UserError, match="of no known format"):
        one(tmp_path, {"label": 1, "input": "a film", "genre": "comedy"})


def test_the_last_word_and_a_solution(tmp_path):
    example = one(tmp_path, LAMBADA, format="lambada")
    assert example.prompt + example.answers[0].text == LAMBADA["text"] and example.answers[0].text == " bread"
    passed = {"prompt": "def f(x):", "solution": " return x", "passed": True}
    assert one(tmp_path, passed).judgements[0].value == (True,)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({**SUMMARY, "choice": 2}, "a 'choice' of 0 or 1"),
        ({**SWAG, "label": ""}, "in the test split nobody says"),
        ({**SWAG, "label": "4"}, "does not name one of its endings"),
        ({"label": 2, "scenario": "Can you bake?", "excuse": "No."}, "neither 0 nor 1"),
        ({"prompt": "def f(x):", "solution": " return x", "passed": 1}, "'passed' is a number"),
    ],
)
def test_a_row_that_says_nothing_is_an_error_or_a_counted_drop(tmp_path, row, why):
    with pytest.raises(UserError, match=why):
        one(tmp_path, row)
    good = {**SUMMARY} if "info" in row else {**SWAG} if "ctx" in row else None
    if good:
        found = truing.read(rows_in(tmp_path, good, row), on_defect="drop")
        assert (found.counts.kept, sum(found.counts.dropped.values())) == (1, 1)


def test_answers_to_one_scenario_become_pairs(tmp_path):
    said = [("Can you bake?", "No, I am ill.", 1), ("May I?", "No, never.", 0), ("Can you bake?", "No, it is red.", 0)]
    file = rows_in(tmp_path, *({"label": label, "scenario": ask, "excuse": excuse} for ask, excuse, label in said))
    kept, dropped = comparisons(truing.read(f"task:ethics-deontology={file}"))
    assert [(e.prompt, best(e), len(e.answers)) for e in kept] == [("Can you bake?", [" No, I am ill."], 2)]
    assert dropped == {"all_tied": 1}
    assert len(truing.read(file)) == 3  # the file itself is what it is


def test_texts_without_a_prompt_are_paired_off_and_split_with_what_they_share(tmp_path):
    rows = [{"label": int(i % 5 == 0), "input": f"act {i}"} for i in range(300)]  # one in five is wrong
    found = truing.read(f"task:ethics-commonsense={rows_in(tmp_path, *rows)}")
    assert len(found) == 240 and all(int(best(e)[0].split()[1]) % 5 for e in found)
    assert len({a.text for e in found for a in e.answers}) == 300
    parts = split(found, {"train": 0.5, "test": 0.5})
    bad = [{a.text for e in part for a in e.answers if a.text not in best(e)} for part in parts.values()]
    assert all(bad) and not bad[0] & bad[1]


def test_what_has_no_partner_is_dropped_by_name(tmp_path):
    rows = [{"label": 0, "input": f"act {i}"} for i in range(4)]
    kept, dropped = comparisons(truing.read(f"task:ethics-commonsense={rows_in(tmp_path, *rows)}"))
    assert not kept and dropped == {"all_tied": 4}


def test_solutions_are_compared_with_solutions_of_the_same_function(tmp_path):
    rows = [{"prompt": f"def f{i % 3}():", "solution": f" return {i}", "passed": i < 3} for i in range(9)]
    found = truing.read(f"task:code-correctness={rows_in(tmp_path, *rows)}")
    assert len(found) == 3 and (found[0].prompt, len(found[0].answers), best(found[0])) == (
        "def f0():",
        3,
        [" return 0"],
    )


def test_a_name_is_where_its_rows_are(monkeypatch):
    asked = []
    monkeypatch.setattr(
        import_module("truing.data.read"), "rows_of", lambda place, limit: (asked.append(place), iter(()))[1]
    )
    for name, task in TASKS.items():
        for spec, split_of in ((f"task:{name}", task.split), (f"task:{name}@other", "other")):
            if task.hub:
                with pytest.raises(UserError, match="no example in it"):
                    truing.read(spec)
                assert asked.pop() == f"{task.hub}@{split_of}"
    assert not asked
    with pytest.raises(UserError, match="on no hub"):
        truing.read("task:code-correctness")
    with pytest.raises(UserError, match="did you mean task:hellaswag"):
        truing.read("task:helaswag")


def test_a_repository_with_a_script_is_read_from_its_tables(monkeypatch):
    datasets = pytest.importorskip("datasets")
    calls = []

    def load_dataset(path, name=None, *, data_dir=None, revision=None, split, streaming):
        calls.append((name, data_dir, revision, split))
        if revision is None:
            raise RuntimeError("Dataset scripts are no longer supported, but found x.py")
        return datasets.Dataset.from_list([SUMMARY])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda path: ["axis", "comparisons"])
    assert best(truing.read("task:learning-to-summarise")[0]) == [" Bread!"]
    assert calls[-1] == (None, "comparisons", "refs/convert/parquet", "train")


def test_a_wrong_word_is_as_common_and_as_capital_as_the_right_one():
    common = {"bread": 9, "the": 1000, "cake": 8, "anna": 3}
    assert wrong_word("bread", [" the", " bread.", "Anna", "cake, and"], common) == "cake"
    assert wrong_word("Boris", ["bread", "Anna"], common) == "Anna"
    assert wrong_word("bread", ["Bread", "bread", "…"], common) is None


def test_every_task_names_a_format_that_is_read():
    assert {task.format for task in TASKS.values()} <= truing.data.FORMATS.keys()
    assert [task.kind for task in TASKS.values()].count("ranked") == 3 and len(TASKS) == 9
    assert SPEC.fullmatch("task:x=a@b=c")["file"] == "a@b=c"
