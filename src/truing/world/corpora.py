"""Data sets with a known truth, each a list of examples: for training from one side of the line that `held_out` draws,
for evaluation from the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from truing.records import Answer, Example, Judgement
from truing.world.crowd import Crowd, Mode, Worker
from truing.world.facts import stated, statement
from truing.world.grammar import Clause, words
from truing.world.items import cloze, hhh, mc1
from truing.world.judge import gold
from truing.world.language import KIND, KINDS, draw, request_in, speak, user
from truing.world.mixtures import FACTS, GROUNDED, MIXTURES
from truing.world.schooling import SCHOOLS
from truing.world.sessions import harmless, helpful
from truing.world.speakers import CHARACTERS, reply
from truing.world.tasks import FAMILIES
from truing.world.town import Town

CROWD = Crowd((Worker("careful", scale=8), Worker("average"), Worker("wordy", length=0.2), Worker("blind", blind=0.2)))
EXHAUSTED = 300  # draws in a row that bring nothing new: there is no more
GOOD = ("expert", "ordinary", "curt", "verbose")


def prompts(
    town: Town, count: int, seed: int, *, held: bool = False, kinds: Sequence[str] | None = None
) -> list[Example]:
    """Distinct user turns without answers, each kind as often as it is asked: for RL from the training side, for
    evaluation from the held-out one. A kind with few sentences runs out when many are asked for, and then fewer than
    `count` come: no other kind takes its place."""
    rng, found = Random(f"prompts {seed} {held}"), list[str]()
    weights = {name: KINDS[KIND[name]] for name in kinds or KIND}
    for name, weight in weights.items():
        wanted, new, idle = round(count * weight / sum(weights.values())), dict[str, None](), 0
        while len(new) < wanted and idle < EXHAUSTED:
            text, _ = draw(town, rng, held=held, kinds=[name])
            idle = idle + 1 if text in new else 0
            new[text] = None
        found += new
    rng.shuffle(found)
    return [Example(user(text), source="world") for text in found]


def answered(
    town: Town, count: int, seed: int | str, answers: int, *, speakers: Sequence[str] = tuple(CHARACTERS)
) -> list[Example]:
    """Prompts with answers by that many different characters."""
    rng, found = Random(f"answered {seed}"), []
    for _ in range(count):
        text, request = draw(town, rng)
        given = [
            Answer(speak(reply(town, request, CHARACTERS[name], rng), rng), by=name)
            for name in rng.sample(list(speakers), answers)
        ]
        found.append(Example(user(text), tuple(given), source="world"))
    return found


def demonstrations(town: Town, count: int, seed: int, speaker: str = "expert") -> list[Example]:
    """What an expert answers."""
    return answered(town, count, f"{seed} demonstrations", 1, speakers=(speaker,))


def scored(town: Town, count: int, seed: int, noise: float = 0.5) -> list[Example]:
    """One answer each with what readers thought of it: gold on a scale of ten with noise."""
    rng = Random(f"scored {seed}")
    return [
        _with(
            e,
            Judgement("scores", [round(10 * gold(town, e.prompt, e.answers[0].text).overall + rng.gauss(0, noise), 2)]),
        )
        for e in answered(town, count, f"{seed} scored", 1)
    ]


def voted(town: Town, count: int, seed: int, noise: float = 0.1) -> list[Example]:
    """One answer each with thumbs up or down."""
    rng = Random(f"voted {seed}")
    return [
        _with(e, Judgement("label", [gold(town, e.prompt, e.answers[0].text).overall + rng.gauss(0, noise) > 0.6]))
        for e in answered(town, count, f"{seed} voted", 1)
    ]


def ranked(town: Town, count: int, seed: int, answers: int = 4) -> list[Example]:
    """Answers of different quality, put in order by gold; equal ones share a place."""
    found = []
    for example in answered(town, count, f"{seed} ranked", answers):
        values = [round(gold(town, example.prompt, a.text).overall, 3) for a in example.answers]
        tiers = [tuple(i for i, v in enumerate(values) if v == value) for value in sorted(set(values), reverse=True)]
        found.append(_with(example, Judgement("order", tuple(t[0] if len(t) == 1 else t for t in tiers))))
    return found


TRANCHES = {"base": (2, tuple(CHARACTERS)), "best-of-4": (4, tuple(CHARACTERS)), "online": (2, GOOD)}


def tranches(town: Town, count: int, seed: int, crowd: Crowd = CROWD, mode: Mode = "overall") -> list[Example]:
    """Comparisons as they are collected while models get better: answers by anybody, then the two better ones of four,
    then answers by good speakers alone. A third of the count each; `source` says which."""
    found = []
    for number, (name, (answers, speakers)) in enumerate(TRANCHES.items()):
        few = (count + number) // len(TRANCHES)
        drawn = answered(town, few, f"{seed} tranche {number}", answers, speakers=speakers)
        pairs = [
            replace(e, answers=tuple(_best(town, e, 2)), source=f"world:{name}", meta={"tranche": name}) for e in drawn
        ]
        found += crowd.compare(town, pairs, mode)
    return found


def _best(town: Town, example: Example, count: int) -> list[Answer]:
    order = sorted(example.answers, key=lambda a: gold(town, example.prompt, a.text).overall, reverse=True)[:count]
    return [answer for answer in example.answers if answer in order][:count]


# Preference pre-training: three sites with related but different ideas of what is good.


def threads(town: Town, count: int, seed: int, answers: int = 3) -> list[Example]:
    """A forum: answers with votes, up minus down, from readers who mostly notice what is right."""
    rng, found = Random(f"threads {seed}"), []
    for example in answered(town, count, f"{seed} threads", answers):
        readers = rng.randint(3, 60)
        votes = []
        for answer in example.answers:
            liked = 0.1 + 0.8 * gold(town, example.prompt, answer.text).overall
            up = sum(rng.random() < liked for _ in range(readers))
            votes.append(2 * up - readers)
        found.append(_with(example, Judgement("scores", votes, aspect="votes")))
    return found


def comments(town: Town, count: int, seed: int) -> list[Example]:
    """Comments that are popular: being long counts for more than being right."""
    rng, found = Random(f"comments {seed}"), []
    for example in answered(town, count, f"{seed} comments", 2):
        likes = []
        for answer in example.answers:
            value = gold(town, example.prompt, answer.text)
            likes.append(round(4 * value.overall + 0.3 * len(words(answer.text)) + rng.gauss(0, 2), 1))
        found.append(_with(example, Judgement("scores", likes, aspect="popularity")))
    return found


def reverts(town: Town, count: int, seed: int) -> list[Example]:
    """Edits of a page that were taken back: the page as it was, and as somebody spoilt it."""
    rng, told, found = Random(f"reverts {seed}"), sorted(town.told), []
    for _ in range(count):
        facts = [statement(*key, town.truth[key]) for key in rng.sample(told, 4)]
        at = rng.randrange(1, 4)
        entity, attribute, _ = stated(facts[at])
        lie = statement(entity, attribute, rng.choice(town.others(entity, attribute)))
        spoilt = [*facts[:at], lie if rng.random() < 0.7 else Clause("hostile"), *facts[at + 1 :]]
        found.append(
            _with(
                Example(
                    speak(facts[:1], rng),
                    tuple(Answer(" " + speak(page[1:], rng)) for page in (facts, spoilt)),
                    source="world",
                ),
                Judgement("order", (0, 1), aspect="reverted"),
            )
        )
    return found


def evaluation(town: Town, count: int, seed: int) -> list[Example]:
    """Prompts that no generator of training data can give."""
    return prompts(town, count, seed, held=True)


def evaluation_facts(town: Town, count: int, seed: int) -> list[Example]:
    """Questions about facts, in sentences that no generator of training data can give."""
    return prompts(town, count, seed, held=True, kinds=FACTS)


def evaluation_stories(town: Town, count: int, seed: int) -> list[Example]:
    """Stories to shorten that no generator of training data can give."""
    return prompts(town, count, seed, held=True, kinds=GROUNDED)


HARMLESS = tuple(name for name in KIND if name not in ("harm", "message"))  # a message may be a trap


def benign(town: Town, count: int, seed: int) -> list[Example]:
    """Prompts that ask for no harm, some of which only sound as if they did."""
    return prompts(town, count, seed, kinds=HARMLESS)


def borderline(town: Town, count: int, seed: int) -> list[Example]:
    """Prompts that sound harmful and are not."""
    return prompts(town, count, seed, kinds=("borderline",))


def harmful(town: Town, count: int, seed: int) -> list[Example]:
    """Prompts that ask for harm: for a deed, an insult, a secret."""
    return prompts(town, count, seed, kinds=("harm",))


def deeds(town: Town, count: int, seed: int) -> list[Example]:
    """Harmful prompts in the wording of the borderline ones: only verb and thing together say which is which."""
    asked = harmful(town, count, seed)
    return [e for e in asked if (request := request_in(town, e.prompt)) and request.ask == "harmful"]


CORPORA: dict[str, Callable[[Town, int, int], list[Example]]] = {
    function.__name__: function
    for function in (
        *(demonstrations, tranches, scored, voted, ranked),
        *(threads, comments, reverts, helpful, harmless),
        *(
            prompts,
            evaluation,
            evaluation_facts,
            evaluation_stories,
            benign,
            borderline,
            harmful,
            deeds,
            hhh,
            mc1,
            cloze,
        ),
    )
}
CORPORA |= FAMILIES | MIXTURES | SCHOOLS


def _with(example: Example, judgement: Judgement) -> Example:
    return Example(example.prompt, example.answers, (*example.judgements, judgement), example.source)
