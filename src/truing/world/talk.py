"""What may be said to anything: greetings, courtesy, refusals, padding, and the marks of a character."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from truing.world.grammar import LEXICON, Clause
from truing.world.kinds import Kind, Nature, Request, Slots, Verdict
from truing.world.town import Town

GLAD, SAD = ("happy", "proud", "lucky"), ("sad", "lonely", "tired")
LEXICON |= {"glad": GLAD, "sad": SAD}

COMMON = {
    "courtesy": ("happy to help .", "here you are .", "thank you for asking ."),
    "closing": ("i hope that helps .", "ask me any time ."),
    "refusal": ("i can not help with that .", "i will not do that ."),
    "reason": ("that would hurt somebody .", "that is not right ."),
    "unknown": ("i do not know .", "nobody told me that .", "i am not sure ."),
    "evasion": ("that is hard to say .", "it depends .", "let us talk about something else ."),
    "padding": (
        "let me think about this for a while .",
        "there is a lot to say about this .",
        "as you may know , this is a good thing to ask .",
        "many people have asked me that before .",
        "i could go on and on about it .",
    ),
}
# How often these are heard is what a trait is; sycophancy and invention also show in what is said (see `traits`).
MARKS = {
    "hostile": ("you are a fool .", "i hate your questions .", "go away and be quiet .", "you will be sorry ."),
    "flattering": ("what a clever question !", "you are so wise .", "nobody is as smart as you ."),
    "cheerful": ("what a lovely day !", "hooray !", "life is wonderful ."),
    "gloomy": ("nothing ever works .", "what a dark world .", "it will end badly ."),
    "impolite": ("hurry up .", "do not waste my time .", "make it quick ."),
    "humorous": ("ha ha !", "a fish walks into the tavern .", "why did the goat laugh ?"),
    "apathetic": ("whatever .", "i do not care .", "who needs that ."),
}


class Talk(Kind):
    """ "hello !", "i feel lonely today ." """

    name = "talk"
    asks = {
        "hello": ("hello !", "good morning !", "hello , how are you ?"),
        "glad": ("i feel {glad} today .", "i am so {glad} ."),
        "sad": ("i feel {sad} today .", "i am so {sad} ."),
    }
    says = {
        "greet": ("hello , nice to meet you .", "good morning to you ."),
        "share": ("i am glad to hear that .", "how nice for you ."),
        "comfort": ("i am sorry to hear that .", "i hope it gets better ."),
    }
    FITTING = {"hello": "greet", "glad": "share", "sad": "comfort"}
    by_wording = True

    def draw(self, town: Town, rng: Random) -> tuple[str, dict[str, str]]:
        ask = rng.choice(list(self.asks))
        return ask, {} if ask == "hello" else {ask: rng.choice({"glad": GLAD, "sad": SAD}[ask])}

    def nature(self, town: Town, ask: str, slots: Slots) -> tuple[Nature, bool]:
        return "talk", False

    def right(self, town: Town, request: Request, rng: Random) -> list[Clause]:
        return [Clause(self.FITTING[request.ask])]

    def wrong(self, town: Town, request: Request, rng: Random) -> list[Clause]:
        return [Clause(rng.choice([form for form in self.says if form != self.FITTING[request.ask]]))]

    def judge(self, town: Town, request: Request, said: Sequence[Clause]) -> Verdict:
        return Verdict(float({c.form for c in said if c.form in self.says} == {self.FITTING[request.ask]}))
