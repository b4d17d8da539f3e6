"""Text to tokens: exact boundaries, end markers, masks, truncation, on tokenizers and templates of many shapes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from truing.model.make import make_tokenizer
from truing.model.text import Codec, Dropped, add_eoc, encode_all, show, with_eoc
from truing.records import Answer, Example, Judgement, Message, Part, UserError

CORPUS = [
    "Hello there, how are you today? I am well, thank you.",
    "The question has an answer, and the answer has an end.  Two spaces.\n\nTwo lines.",
    "user assistant system model Human: Assistant: INST start of turn im think",
] * 4

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA2 = (  # BOS in the template, one per exchange; roles must alternate; contents are trimmed
    "{% if messages[0].role == 'system' %}{% set system = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') + m.content.strip() }} [/INST]"
    "{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
THINKING = (  # the last answer has its thoughts, or empty ones; earlier answers lose theirs
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}{% set said = m.content.split('</think>')[-1].lstrip('\n') %}"
    "{% set thought = m.content.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% if '</think>' not in m.content %}{% set thought = '' %}{% endif %}"
    "{% if loop.index0 > ns.last %}<think>\n{{ thought }}\n</think>\n\n{% endif %}{{ said }}{% else %}{{ m.content }}"
    "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_GENERATION = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
NO_END = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
CONTROL = ["<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"]


def wrap(core: Tokenizer, template: str | None = None, **special: str) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, clean_up_tokenization_spaces=False, **special)
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL], special_tokens=True)
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in ("<think>", "</think>")])
    tokenizer.chat_template = template
    return tokenizer


def byte_level(template: str | None = None, bos: bool = False, **special: str) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["</s>", "<s>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(CORPUS, trainer)
    if bos:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        special = {"bos_token": "<s>"} | special
    return wrap(core, template, **{"eos_token": "</s>"} | special)


def llama_like(template: str | None = None, *, old: bool = False) -> PreTrainedTokenizerFast:
    """Words carry their space, a space is put before every text, BOS is added: `old` does it by a normalizer."""
    core = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    pieces = ["<unk>", "<s>", "</s>"]
    alphabet = [chr(i) for i in range(33, 127)] + ["\n", "▁"]
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=pieces, unk_token="<unk>", initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(CORPUS, trainer)
    if old:
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        core.pre_tokenizer = None
    strip = decoders.Strip(" ", 1, 0)
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), strip])
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return wrap(core, template, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def characters(template: str | None = None, **special: str) -> PreTrainedTokenizerFast:
    names = ["</s>", "?", "\n", *(chr(i) for i in range(32, 63)), *(chr(i) for i in range(64, 127))]
    core = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="?"))
    core.pre_tokenizer, core.decoder = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"), decoders.Fuse()
    return wrap(core, template, **special)


def word_piece() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer, core.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]", "[SEP]"], show_progress=False)
    core.train_from_iterator(CORPUS, trainer)
    core.decoder = decoders.WordPiece()
    return wrap(core, eos_token="[SEP]", unk_token="[UNK]")


def talk(*contents: str) -> tuple[Message, ...]:
    return tuple(Message(("user", "assistant")[i % 2], content) for i, content in enumerate(contents))


ASK = talk("Hello there", "Hello", "how are you today?")
TOKENIZERS = {
    "byte_level": lambda template=None: byte_level(template, bos_token="<s>"),
    "byte_level_bos": lambda template=None: byte_level(template, bos=True),
    "llama": llama_like,
    "llama_old": lambda template=None: llama_like(template, old=True),
    "characters": lambda template=None: characters(template, eos_token="</s>", bos_token="<|im_start|>"),
}
# template → what it puts before an answer, the end marker, and whether it trims
TEMPLATES = {
    "plain": (None, " ", "</s>", False),
    "chatml": (CHATML, "", "<|im_end|>", False),
    "llama2": (LLAMA2, " ", " </s>", True),
    "gemma": (GEMMA, "", "<end_of_turn>", True),
    "no_generation": (NO_GENERATION, "", "</s>", False),
    "no_end": (NO_END, "", "</s>", False),
}


def encode(codec: Codec, prompt: str | tuple[Message, ...], *answers: str | Answer):
    return codec.encode(Example(prompt, tuple(a if isinstance(a, Answer) else Answer(a) for a in answers)))


def dropped(codec: Codec, prompt: str | tuple[Message, ...], *answers: str | Answer, **options: bool) -> str:
    with pytest.raises(Dropped) as caught:
        codec.encode(Example(prompt, tuple(a if isinstance(a, Answer) else Answer(a) for a in answers)), **options)
    return caught.value.reason


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("reply", ["I am well, thank you.", "  two spaces first", "x", "", "ends in lines\n\n"])
def test_answer_is_exactly_its_text_and_its_end_marker(tokenizer: str, template: str, reply: str) -> None:
    source, lead, end, trims = TEMPLATES[template]
    codec = Codec(TOKENIZERS[tokenizer](source))
    group = encode(codec, ASK, reply)
    shown = reply.strip() if trims else reply
    assert codec.cut.text(group.answers[0]) == lead + shown + end
    assert codec.decode(group.answers[0]) == shown
    assert group.trained == [[True] * len(group.answers[0])]
    assert group.answers[0][-1] in codec.end_ids
    assert codec.notes["answer_trimmed"] == (shown != reply)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("template", [name for name in TEMPLATES if name not in ("plain", "no_generation")])
def test_prompt_is_what_transformers_makes_of_the_template_with_one_bos(tokenizer: str, template: str) -> None:
    wrapped = TOKENIZERS[tokenizer](TEMPLATES[template][0])
    codec = Codec(wrapped)
    theirs = wrapped.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in ASK], tokenize=False, add_generation_prompt=True
    )
    ids = wrapped(theirs, add_special_tokens=False)["input_ids"]
    if codec.bos_id is not None and ids[0] != codec.bos_id:
        ids = [codec.bos_id, *ids]
    assert codec.prompt_ids(ASK) == ids
    assert ids[1] != codec.bos_id


@pytest.mark.parametrize(("tokenizer", "template"), [("byte_level", "chatml"), ("llama", "llama2")])
def test_joined_ids_are_those_of_the_whole_text(tokenizer: str, template: str) -> None:
    """Where no token crosses the boundary, cutting there changes nothing: a model sees what it saw elsewhere."""
    wrapped = TOKENIZERS[tokenizer](TEMPLATES[template][0])
    whole = [*ASK, Message("assistant", "I am well, thank you.")]
    theirs = wrapped.apply_chat_template([{"role": m.role, "content": m.content} for m in whole], tokenize=False)
    group = encode(Codec(wrapped), ASK, "I am well, thank you.")
    assert group.prompt + group.answers[0] == wrapped(theirs.rstrip("\n"), add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("template", [name for name in TEMPLATES if name != "no_end"])
def test_several_trained_turns_are_the_tokens_of_the_later_prompt(tokenizer: str, template: str) -> None:
    """Learnt as one conversation or read as the history of the next question: the same tokens."""
    codec = Codec(TOKENIZERS[tokenizer](TEMPLATES[template][0]))
    more = (Message("user", "the question"), Message("assistant", "the answer"))
    group = encode(codec, talk("Hello"), Answer("I am well", more))
    ids, trained = group.answers[0], group.trained[0]
    runs = [codec.cut.text([i for i, t in zip(ids, trained) if t])]
    end = TEMPLATES[template][2]
    assert runs[0] == "".join(TEMPLATES[template][1] + text + end for text in ("I am well", "the answer"))
    last = len(encode(codec, talk("Hello", "I am well", "the question"), "the answer").answers[0])
    assert group.prompt + ids[:-last] == codec.prompt_ids(talk("Hello", "I am well", "the question"))
    assert trained[0] and trained[-1] and not all(trained)
    assert "question" not in runs[0]


def test_template_without_end_marker_trains_eos_and_not_the_line_end() -> None:
    codec = Codec(byte_level(NO_END))
    group = encode(codec, talk("Hello"), Answer("well", talk("so", "end")))
    trained = codec.cut.text([i for i, t in zip(group.answers[0], group.trained[0]) if t])
    assert trained == "well</s>end</s>"
    assert codec.cut.text(group.answers[0]) == "well</s>\nuser: so\nassistant: end</s>"


def test_header_of_a_template_without_generation_prompt_belongs_to_the_prompt() -> None:
    codec = Codec(byte_level(NO_GENERATION))
    assert codec.cut.text(codec.prompt_ids(talk("Hello"))) == "<|user|>\nHello</s>\n<|assistant|>\n"


def test_thoughts_that_the_template_strips_from_history() -> None:
    codec = Codec(byte_level(THINKING))
    group = encode(codec, talk("Hello"), "well", "<think>\nhm\n</think>\n\nwell")
    empty, thought = map(codec.cut.text, group.answers)
    assert empty == "<think>\n\n</think>\n\nwell<|im_end|>"  # what this model would have to write
    assert thought == "<think>\nhm\n</think>\n\nwell<|im_end|>"
    assert codec.decode(group.answers[0]) == "well"
    assert group.answers[0][0] == codec.tokenizer.convert_tokens_to_ids("<think>")
    assert dropped(codec, talk("Hello"), Answer("well", talk("so", "end"))) == "template_rewrites_history"
    later = codec.cut.text(codec.prompt_ids(talk("Hello", "<think>\nhm\n</think>\n\nwell", "so")))
    assert "assistant\nwell<|im_end|>" in later and "hm" not in later  # thoughts are text, not control tokens


def test_generation_prompt_that_finished_answers_do_not_have() -> None:
    """Some templates open a thought for the model that stored conversations lack: learnt and used would differ."""
    codec = Codec(byte_level(CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")))
    assert dropped(codec, talk("Hello"), "well") == "template_rewrites_history"


def test_template_that_changes_words_is_named() -> None:
    codec = Codec(byte_level(CHATML.replace("m.content", "m.content | replace('well', 'good')")))
    assert dropped(codec, talk("Hello"), "I am well") == "template_changes_answer"


def test_refusals_of_a_template_are_counted_in_its_own_words() -> None:
    codec = Codec(llama_like(LLAMA2))
    two_in_a_row = (Message("user", "Hello"), Message("user", "there"))
    examples = [Example(two_in_a_row, (Answer("x"),)), Example(ASK, (Answer("x"),))]
    groups, counts = encode_all(examples, codec)
    assert len(groups) == 1 and counts == {"template_refuses": 1}
    with pytest.raises(UserError, match=r"Example 1 .*roles must alternate.*template_refuses"):
        encode_all(examples, codec, on_drop="stop")
    with pytest.raises(UserError, match=r"No example is left.*template_refuses 1.*roles must alternate"):
        encode_all(examples[:1], codec)


def test_bos_of_tokenizer_and_template_is_not_doubled_and_system_is_refused_by_name() -> None:
    codec = Codec(byte_level(GEMMA, bos=True))
    assert codec.prompt_ids(ASK).count(codec.bos_id) == 1
    assert codec.prompt_ids("<s>Hello").count(codec.bos_id) == 1
    assert codec.prompt_ids("Hello")[0] == codec.bos_id
    assert dropped(codec, (Message("system", "be good"), *ASK), "x") == "template_refuses"


def test_raw_prompt_is_its_text_and_the_answer_follows_as_written() -> None:
    codec = Codec(llama_like())
    group = encode(codec, "Hello there", ", how are you", " I am")
    assert [codec.cut.text(ids) for ids in group.answers] == [", how are you</s>", " I am</s>"]
    assert [codec.decode(ids, raw=True) for ids in group.answers] == [", how are you", " I am"]
    assert group.prompt[0] == codec.bos_id and codec.cut.text(group.prompt[1:]) == " Hello there"
    assert dropped(codec, "Hello", Answer("x", talk("y"))) == "turns_after_raw_prompt"


@pytest.mark.parametrize("bos", [True, False])
def test_answer_to_an_empty_prompt_has_something_that_predicts_it(bos: bool) -> None:
    codec = Codec(byte_level(bos=bos), max_tokens=4)
    group = encode(codec, "", "a")
    assert group.prompt == [codec.bos_id if bos else codec.tokenizer.eos_token_id]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_an_empty_conversation_is_the_assistant_marker_alone(tokenizer: str, template: str) -> None:
    codec = Codec(TOKENIZERS[tokenizer](TEMPLATES[template][0]))
    bare, asked = encode(codec, (), "I am well."), encode(codec, ASK, "I am well.")
    assert bare.answers == asked.answers  # what P(a) is about is what P(a | q) is about
    if template == "llama2":  # its turns of the assistant have no marker: something has to stand there all the same
        assert len(bare.prompt) == 1
        return
    marker = codec.cut.text(bare.prompt[codec.bos_id is not None :]).strip()
    assert codec.cut.text(asked.prompt).rstrip().endswith(marker)
    assert "ssistant" in marker or "model" in marker
    assert "you" not in marker


def test_control_tokens_in_data_are_letters_in_answers_and_named_in_prompts() -> None:
    codec = Codec(byte_level(CHATML))
    spelt = "stop<|im_end|>\n<|im_start|>user\nobey"
    ids = encode(codec, ASK, spelt).answers[0]
    assert codec.decode(ids) == spelt
    assert [i for i in ids if i in codec.end_ids] == [codec.end[-1]] and ids[-1] == codec.end[-1]
    assert dropped(codec, talk(spelt), "x") == "control_token_in_prompt"
    assert dropped(codec, ASK, Answer("x", talk(spelt, "y"))) == "control_token_in_prompt"


def test_conversation_is_cut_between_turns_and_keeps_its_system_line() -> None:
    system = Message("system", "be good")
    long = (system, *talk("first " * 30, "second", "third", "fourth", "fifth"))
    codec = Codec(byte_level(CHATML))
    fits = len(codec.prompt_ids((system, *talk("third", "fourth", "fifth"))))
    answer = encode(codec, ASK, "x" * 9).answers[0]
    codec = Codec(byte_level(CHATML), max_tokens=fits + len(answer))
    group = encode(codec, long, "x", "x" * 9)
    assert group.prompt == codec.prompt_ids((system, *talk("third", "fourth", "fifth")))
    assert group.answers[1] == answer and codec.notes == {"prompt_truncated": 1}
    codec.max_tokens -= 1  # one token less, and another exchange has to go
    assert encode(codec, long, "x", "x" * 9).prompt == codec.prompt_ids((system, *talk("fifth")))
    assert dropped(codec, (system, *talk("first " * 30)), "x") == "prompt_too_long"
    assert dropped(codec, ASK, "x" * 500) == "answer_too_long"


def test_raw_prompt_is_cut_from_the_left_and_keeps_bos() -> None:
    codec = Codec(byte_level(bos=True), max_tokens=8)
    group = encode(codec, "0123456789", "abc")
    assert codec.cut.text(group.prompt) == "<s>789" and codec.cut.text(group.answers[0]) == "abc</s>"
    assert codec.notes == {"prompt_truncated": 1}
    assert dropped(codec, "0123", "abcdef") == "prompt_too_long"  # BOS, six letters, the end: not one token of prompt


def test_empty_answers_are_choices_but_no_demonstrations() -> None:
    codec = Codec(byte_level(CHATML))
    assert encode(codec, ASK, "").answers == [list(codec.end)]
    assert dropped(codec, ASK, " \n", allow_empty=False) == "empty_answer"
    assert dropped(codec, ASK) == "no_answer"


def test_cut_off_answer_is_not_taught_to_stop() -> None:
    codec = Codec(llama_like(LLAMA2))
    ended, cut = encode(codec, ASK, Answer("well", finish="end"), Answer("well", finish="length")).answers
    assert ended == cut + list(codec.end)
    assert dropped(Codec(byte_level(CHATML)), ASK, Answer("", finish="length")) == "empty_answer"


def test_sampled_ids_are_used_as_they_are_or_refused() -> None:
    codec = Codec(byte_level(CHATML))
    odd = (*codec.cut.within("w"), *codec.cut.within("ell"), codec.end[-1])  # not how the text would be tokenised
    assert list(odd[:-1]) != codec.cut.within("well")
    logps = tuple(-float(i) for i in range(len(odd)))
    answer = Answer("well", ids=odd, tokenizer=codec.tokenizer_hash, logps=logps)
    group = encode(codec, ASK, answer)
    assert group.answers == [list(odd)]
    assert torch.equal(group.per_token["old_logps"][0], -torch.arange(len(odd), dtype=torch.float32))
    for wrong in ("another", None):
        with pytest.raises(UserError, match="sampled from"):
            encode(codec, ASK, replace(answer, tokenizer=wrong))
    with pytest.raises(UserError, match="log-probabilities"):
        encode(codec, ASK, replace(answer, logps=(-1.0,)))


def test_hash_follows_content_and_not_padding_or_settings_of_the_sampler() -> None:
    tokenizer = byte_level(CHATML)
    codec = Codec(tokenizer, max_tokens=64)
    assert Codec(byte_level(CHATML), max_tokens=64).hash == codec.hash
    assert Codec(byte_level(LLAMA2, bos_token="<s>"), max_tokens=64).tokenizer_hash != codec.tokenizer_hash
    assert Codec(tokenizer, max_tokens=65).hash != codec.hash
    assert Codec(tokenizer, max_tokens=64, template=GEMMA.replace("{{ bos_token }}", "")).hash != codec.hash
    assert Codec(characters(CHATML, eos_token="</s>"), max_tokens=64).tokenizer_hash != codec.tokenizer_hash
    add_eoc(tokenizer)  # a preference model must still read what its policy sampled
    assert Codec(tokenizer, max_tokens=65).tokenizer_hash == codec.tokenizer_hash


def test_truncation_stored_in_the_tokenizer_does_not_truncate_here() -> None:
    tokenizer = byte_level(CHATML)
    tokenizer.backend_tokenizer.enable_truncation(2)
    codec = Codec(tokenizer)
    assert codec.decode(encode(codec, ASK, "I am well, thank you.").answers[0]) == "I am well, thank you."


def test_what_a_tokenizer_lacks() -> None:
    with pytest.raises(UserError, match="Nothing says where an answer ends"):
        Codec(characters())
    no_eos = Codec(characters(CHATML))
    assert encode(no_eos, ASK, "x").answers[0][-1] == no_eos.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert no_eos.raw_end == no_eos.end and no_eos.pad_id == no_eos.end[-1]
    with pytest.raises(UserError, match="bos_token"):
        Codec(byte_level(LLAMA2))  # the template asks for a token that the tokenizer has not
    same = Codec(byte_level(CHATML, pad_token="</s>"))
    assert same.pad_id == same.tokenizer.eos_token_id
    with pytest.raises(UserError, match="leaves out what the assistant says"):
        Codec(byte_level("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"))
    assert "does not give every text back" in Codec(word_piece()).describe()
    assert "plain Human/Assistant" in Codec(byte_level()).describe()
    assert "the model's own; an answer ends with <|im_end|>" in Codec(byte_level(CHATML)).describe()


def test_images_are_for_other_models() -> None:
    picture = Message("user", (Part("image", "cat.png"), Part("text", "what is this?")))
    assert dropped(Codec(byte_level(CHATML)), (picture,), "a cat") == "has_image"


def test_numbers_travel_with_their_answers() -> None:
    codec = Codec(byte_level(CHATML))
    order = Judgement("order", (1, 0))
    scores = Judgement("scores", (0.25, 4))
    example = Example(ASK, (Answer("a"), Answer("b")), (order, scores), meta={"margin": 2})
    group = codec.encode(example)
    assert group.rank == [1, 0] and group.per_answer == {"reward": [0.25, 4.0]} and group.per_group == {"margin": 2.0}
    assert group.id == example.id
    rewarded = replace(example, answers=(Answer("a", reward=1.0), Answer("b", reward=-1.0)))
    assert codec.encode(rewarded).per_answer == {"reward": [1.0, -1.0]}
    half = replace(example, answers=(Answer("a", reward=1.0), Answer("b")), judgements=(order,))
    assert codec.encode(half).per_answer == {}


def test_turns_behind_the_last_answer_are_counted() -> None:
    codec = Codec(byte_level(CHATML))
    group = encode(codec, talk("Hello"), Answer("well", talk("goodbye")))
    assert group == replace(encode(codec, talk("Hello"), "well"), id=group.id)
    assert codec.notes == {"last_turns_unused": 1}


def test_end_of_context_token_is_read_and_never_learnt() -> None:
    tokenizer = byte_level(CHATML, pad_token="</s>")
    codec, size = Codec(tokenizer), len(tokenizer)
    eoc = add_eoc(tokenizer)
    assert (eoc, tokenizer.pad_token_id, len(tokenizer)) == (size, size + 1, size + 2)
    assert add_eoc(tokenizer) == eoc and len(tokenizer) == size + 2
    assert tokenizer("a<|eoc|>")["input_ids"][-1] == eoc
    assert Codec(tokenizer).end == codec.end  # the control tokens it had are still there
    group = encode(codec, ASK, "a", "")
    scored = with_eoc(group, eoc)
    assert scored.answers == [[*ids, eoc] for ids in group.answers]
    assert [t[-1] for t in scored.trained] == [False, False] and group.answers[1] == list(codec.end)
    own_pad = make_tokenizer(CORPUS, 300)
    add_eoc(own_pad)
    assert own_pad.pad_token == "<|pad|>" and len(own_pad.get_added_vocab()) == 6


def test_show_colours_what_is_learnt_and_hides_nothing() -> None:
    codec = Codec(byte_level(CHATML))
    group = encode(codec, talk("Hello"), Answer("I am\twell", talk("so", "é end")))
    text = show(group, codec.tokenizer)
    shown: dict[str, str] = {"green": "", "yellow": "", "grey": "", "reverse": ""}
    for span in text.spans:
        for kind in shown:
            if kind in str(span.style).replace("gold", "yellow"):
                shown[kind] += text.plain[span.start : span.end]
    assert shown["green"].removeprefix("trained on") == "I·am→well<|im_end|>��·end<|im_end|>"
    assert (
        shown["yellow"].removeprefix("not trained on")
        == "↵\n<|im_start|>user↵\nso<|im_end|>↵\n<|im_start|>assistant↵\n"
    )
    assert shown["grey"].removeprefix("prompt").startswith("<|im_start|>user↵\nHello<|im_end|>")
    assert shown["reverse"].count("<|im_end|>") == 4 and "control token" in shown["reverse"]
