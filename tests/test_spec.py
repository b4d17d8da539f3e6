"""Model specs: every form, its canonical text, and mistakes."""

import random

import pytest

from truing.records import UserError
from truing.spec import Adapter, BestOf, ModelSpec, SystemPrompt, Vector


@pytest.mark.parametrize(
    ("text", "kind", "name", "canonical"),
    [
        ("./folder", "folder", "./folder", "./folder"),
        ("./folder/", "folder", "./folder", "./folder"),
        ("../up/one", "folder", "../up/one", "../up/one"),
        ("/", "folder", "/", "/"),
        ("/a b/c@2", "folder", "/a b/c@2", "/a b/c@2"),
        ("org/name", "hub", "org/name", "org/name"),
        ("Qwen/Qwen2.5-0.5B_x", "hub", "Qwen/Qwen2.5-0.5B_x", "Qwen/Qwen2.5-0.5B_x"),
        ("world:base", "world", "base", "world:base"),
        ("scripted:echo", "scripted", "echo", "scripted:echo"),
        ("api:ft:gpt-4o:org/x", "api", "ft:gpt-4o:org/x", "api:ft:gpt-4o:org/x"),
        (" ./a +lora:./b ", "folder", "./a", "./a+lora:./b"),
    ],
)
def test_forms(text, kind, name, canonical):
    spec = ModelSpec.parse(text)
    assert (spec.kind, spec.name, str(spec)) == (kind, name, canonical)
    assert ModelSpec.parse(canonical) == spec


def test_a_revision_belongs_to_the_hub():
    spec = ModelSpec.parse("org/name@refs/pr/1")
    assert (spec.name, spec.revision, str(spec)) == ("org/name", "refs/pr/1", "org/name@refs/pr/1")


def test_a_name_that_exists_here_is_a_folder_and_stays_one(tmp_path, monkeypatch):
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    spec = ModelSpec.parse("org/name")
    assert str(spec) == "./org/name"
    monkeypatch.chdir("/")
    assert ModelSpec.parse(str(spec)) == spec  # the canonical text no longer depends on what exists


def test_home_is_resolved(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(ModelSpec.parse("~/m")) == "/home/someone/m"


def test_modifiers_keep_their_order():
    spec = ModelSpec.parse("org/n@v1+vec:a@b.safetensors@12=-1.50+lora:./l+prompt:p.txt+best:4:./pm")
    vector = Vector("a@b.safetensors", 12, -1.5)
    judge = ModelSpec("folder", "./pm")
    assert spec.modifiers == (vector, Adapter("./l"), SystemPrompt("p.txt"), BestOf(4, judge))
    assert str(spec) == "org/n@v1+vec:a@b.safetensors@12=-1.5+lora:./l+prompt:p.txt+best:4:./pm"
    assert spec.base == ModelSpec("hub", "org/n", "v1")


def test_a_plus_in_a_name_is_only_a_modifier_before_a_word_and_a_colon():
    assert ModelSpec.parse("./c++/m+1+lora:./a+b").modifiers == (Adapter("./a+b"),)
    assert ModelSpec.parse(r"./odd\+lora:x").name == "./odd+lora:x"
    assert str(ModelSpec("folder", "./odd+lora:x")) == r"./odd\+lora:x"


def test_the_preference_model_of_best_has_modifiers_of_its_own():
    spec = ModelSpec.parse(r"./policy+best:8:./pm\+lora:./a+lora:./b")
    judge = ModelSpec("folder", "./pm", None, (Adapter("./a"),))
    assert spec.modifiers == (BestOf(8, judge), Adapter("./b"))


def _random_spec(draw: random.Random, depth: int = 0) -> ModelSpec:
    def name() -> str:
        pieces = ["a", "+", "\\", "lora:", "vec:", ":", "@", "=", "/", "1", ".", "\\+best:"]
        return "x" + "".join(draw.choices(pieces, k=draw.randint(0, 6))) + "y" * draw.randint(0, 1)

    modifiers = [
        lambda: Adapter(name()),
        lambda: Vector(
            name(),
            draw.randint(0, 99),
            draw.choice([1.0, -0.1, 1e20, 1e-7, 3.25]),
            draw.choice([None, 7]),
            draw.choice([None, "prompt_last"]),
            draw.choice([(), ("all",), ("last", "ablate")]),
        ),
        lambda: SystemPrompt(name()),
        lambda: BestOf(draw.randint(1, 64), _random_spec(draw, depth + 1)),
    ]
    kind = draw.choice(["folder", "world", "api", "scripted"])
    base = f"./{name()}".rstrip("/") if kind == "folder" else name()
    count = draw.randint(0, 3 - depth)
    return ModelSpec(kind, base, None, tuple(draw.choice(modifiers)() for _ in range(count)))


def test_any_spec_survives_its_text():
    draw = random.Random(0)
    for _ in range(3000):
        spec = _random_spec(draw)
        if "://" not in str(spec):
            assert ModelSpec.parse(str(spec)) == spec, str(spec)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no model is named."),
        ("+lora:x", "no model is named before the first '+'"),
        ("gpt2", "neither an existing folder nor a hub name"),
        ("a+b", "neither an existing folder nor a hub name"),
        ("a/b/c", "neither an existing folder nor a hub name"),
        ("wrld:base", "'wrld:' is no kind of model; did you mean 'world:'?"),
        ("https://x.org/v1", "'https:' is no kind of model"),
        ("world:", "a name is missing after 'world:'"),
        ("api:https://x.org/v1", "an endpoint's address comes from the environment"),
        ("./a+lore:x", r"'+lore:' is no modifier; did you mean '+lora:'? (A plus inside a name is written '\+'.)"),
        ("./a+lora:", "something is missing after '+lora:'"),
        ("./a+vec:x@1", "'x@1' is not FILE@LAYER=COEF"),
        ("./a+vec:x@-1=1", "is not FILE@LAYER=COEF"),
        ("./a+vec:x@1=nan", "is not FILE@LAYER=COEF"),
        ("./a+best:0:./p", "'+best:0:./p' is not N:PM"),
        ("./a+best:4", "is not N:PM"),
        ("./a+best:4:gpt2", "model 'gpt2': neither"),
    ],
)
def test_mistakes_say_what_is_wrong(text, sentence):
    with pytest.raises(UserError) as caught:
        ModelSpec.parse(text)
    assert sentence in str(caught.value)
