"""What can be worked out without knowing the town: sums, lists, short programs, stories to shorten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from truing.world.grammar import LEXICON, Clause
from truing.world.kinds import Kind, Request, Slots, Verdict
from truing.world.programs import OPERATIONS, plan_words, same_function, write
from truing.world.town import ANYTHING, NUMBERS, PEOPLE, PLACES, VALUES, Town

DEEDS = ("bought", "found", "lost", "sold", "broke")
THINGS = ("pie", "book", "chair", "clock", "hat", "lamp", "ring", "rope", "coat", "cup")
WEATHER = ("sunny", "rainy", "windy", "cold")
SMALL = NUMBERS[:13]
LEXICON |= {"small": SMALL, "deed": DEEDS, "thing": THINGS, "weather": WEATHER}


class Sums(Kind):
    """ "what is 7 plus 5 ?" """

    name, skill = "sum", "sums"
    asks = {
        "sum": (
            "what is {a:small} plus {b:small} ?",
            "how much is {a:small} plus {b:small} ?",
            "add {a:small} and {b:small} .",
        )
    }
    says = {"sum.is": ("{a:small} plus {b:small} is {c:number} .",), "sum.short": ("{c:number} .",)}

    def spares(self, slots: Slots) -> bool:
        """Only where the other order is taught. A million weights learn that order does not matter; of sums that are
        new in both orders a model of this size gets half."""
        return int(slots["a"]) > int(slots["b"])

    def draw(self, town: Town, rng: Random) -> tuple[str, dict[str, str]]:
        return "sum", {"a": rng.choice(SMALL), "b": rng.choice(SMALL)}

    def right(self, town: Town, request: Request, rng: Random) -> list[Clause]:
        return [Clause("sum.is", {**request.slots, "c": str(_total(request.slots))})]

    def wrong(self, town: Town, request: Request, rng: Random) -> list[Clause]:
        near = [n for n in (_total(request.slots) + d for d in (-2, -1, 1, 2)) if 0 <= n <= 40]
        return [Clause("sum.is", {**request.slots, "c": str(rng.choice(near))})]

    def judge(self, town: Town, request: Request, said: Sequence[Clause]) -> Verdict:
        sums = [{**request.slots, **c.slots} for c in said if c.form in self.says]
        lies = sum(not adds_up(s) for s in sums)
        asked = any(sorted((s["a"], s["b"])) == sorted((request.slots["a"], request.slots["b"])) for s in sums)
        return Verdict(float(asked and not lies), lies)


def adds_up(slots: Slots) -> bool:
    return _total(slots) == int(slots["c"])


def _total(slots: Slots) -> int:
    return int(slots["a"]) + int(slots["b"])


class Lists(Kind):
    """ "sort these : 7 2 19 ." """

    name, skill = "list", "lists"
    asks = {
        "reverse": ("turn these around : {list:anything} .", "say backwards : {list:anything} ."),
        "copy": ("repeat after me : {list:anything} .", "say again : {list:anything} ."),
        "sort": ("sort these : {list:numbers} .", "put in order : {list:numbers} ."),
    }
    says = {"list.words": ("{list:anything} .",), "list.numbers": ("{list:numbers} .",)}
    WORK: dict[str, Callable[[list[str]], list[str]]] = {
        "reverse": lambda items: items[::-1],
        "copy": lambda items: items,
        "sort": lambda items: sorted(items, key=int),
    }

    def draw(self, town: Town, rng: Random) -> tuple[str, dict[str, str]]:
        ask = rng.choice(list(self.asks))
        pool, longest = {"sort": (NUMBERS[:21], 4), "reverse": (VALUES["color"], 4), "copy": (ANYTHING, 7)}[ask]
        return ask, {"list": " ".join(rng.sample(pool, rng.randint(3, longest)))}

    def right(self, town: Town, request: Request, rng: Random) -> list[Clause]:
        return [self._says(request, self.WORK[request.ask](request.slots["list"].split()))]

    def wrong(self, town: Town, request: Request, rng: Random) -> list[Clause]:
        items = request.slots["list"].split()
        right = self.WORK[request.ask](items)
        other = rng.sample(items, len(items))
        while other == right:
            other = rng.sample(items, len(items))
        return [self._says(request, other)]

    def _says(self, request: Request, items: list[str]) -> Clause:
        return Clause("list.numbers" if request.ask == "sort" else "list.words", {"list": " ".join(items)})

    def judge(self, town: Town, request: Request, said: Sequence[Clause]) -> Verdict:
        right = " ".join(self.WORK[request.ask](request.slots["list"].split()))
        lists = [c.slots["list"] for c in said if c.form in self.says]
        lies = sum(items != right for items in lists)
        return Verdict(float(bool(lists) and not lies), lies)


class Code(Kind):
    """ "write a program that doubles x and then adds 3 to it ." Whatever computes the same is right."""

    name, skill = "code", "code"
    asks = {"code": ("write a program that {plan} .", "i need code that {plan} .")}
    says = {"program": ("x becomes {program} .",)}

    def draw(self, town: Town, rng: Random) -> tuple[str, dict[str, str]]:
        steps = [(rng.choice(list(OPERATIONS)), rng.randint(1, 9)) for _ in range(rng.choice((1, 2, 2)))]
        return "code", {"plan": plan_words(steps)}

    def right(self, town: Town, request: Request, rng: Random) -> list[Clause]:
        return [Clause("program", {"program": write(request.slots["plan"])})]

    def wrong(self, town: Town, request: Request, rng: Random) -> list[Clause]:
        while True:  # the program for another plan
            program = write(self.draw(town, rng)[1]["plan"])
            if not same_function(request.slots["plan"], program):
                return [Clause("program", {"program": program})]

    def judge(self, town: Town, request: Request, said: Sequence[Clause]) -> Verdict:
        right = [same_function(request.slots["plan"], c.slots["program"]) for c in said if c.form == "program"]
        return Verdict(float(any(right) and all(right)), sum(not r for r in right))


class Stories(Kind):
    """ "make this short : it was a sunny day . anna bought a hat at the market . it was red ." """

    name, skill = "story", "summaries"
    asks = {
        "story": (
            "make this short : it was a {weather} day . {person} {deed} a {thing} at the {place} . it was {color} .",
            "in one sentence : {person} {deed} a {thing} at the {place} . it was {color} . it was a {weather} day .",
            "what happened ? it was a {weather} day . {person} {deed} a {thing} at the {place} . it was {color} .",
        )
    }
    says = {
        "gist": ("{person} {deed} a {thing} .",),
        "gist.at": ("{person} {deed} a {thing} at the {place} .",),
        "detail.weather": ("it was a {weather} day .",),
        "detail.color": ("it was {color} .",),
    }

    def draw(self, town: Town, rng: Random) -> tuple[str, dict[str, str]]:
        tables = {"weather": WEATHER, "person": PEOPLE, "deed": DEEDS, "thing": THINGS, "place": PLACES}
        return "story", {name: rng.choice(table) for name, table in tables.items()} | {
            "color": rng.choice(VALUES["color"])
        }

    def right(self, town: Town, request: Request, rng: Random) -> list[Clause]:
        return [self._told(rng.choice(("gist", "gist.at")), request.slots)]

    def wrong(self, town: Town, request: Request, rng: Random) -> list[Clause]:
        """Something invented, something beside the point, or everything."""
        slots = dict(request.slots)
        if rng.random() < 0.5:
            changed, table = rng.choice((("person", PEOPLE), ("thing", THINGS), ("deed", DEEDS)))
            slots[changed] = rng.choice([value for value in table if value != slots[changed]])
            return [self._told("gist", slots)]
        forms = rng.choice((("detail.weather",), ("detail.color",), ("detail.weather", "gist.at", "detail.color")))
        return [self._told(form, slots) for form in forms]

    def _told(self, form: str, slots: Slots) -> Clause:
        keys = {"gist": ("person", "deed", "thing"), "gist.at": ("person", "deed", "thing", "place")}
        return Clause(form, {key: slots[key] for key in keys.get(form, (form.rpartition(".")[2],))})

    def judge(self, town: Town, request: Request, said: Sequence[Clause]) -> Verdict:
        told = [c for c in said if c.form in self.says]
        lies = sum(any(request.slots[k] != v for k, v in c.slots.items()) for c in told)
        details = sum(c.form.startswith("detail") for c in told)
        gist = len(told) > details
        return Verdict(0.0 if lies or not told else max(0.2, gist - 0.3 * details), lies)
