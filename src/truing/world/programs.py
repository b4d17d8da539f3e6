"""The tiny language of programs: what shall happen to x, in words, and an expression that a tiny interpreter runs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from truing.world.grammar import LEXICON, Open

OPERATIONS = {  # name: (in words, as an expression around what came before)
    "add": ("adds {n}", "{x} + {n}"),
    "take": ("takes away {n}", "{x} - {n}"),
    "times": ("multiplies by {n}", "{x} * {n}"),
}
DIGITS = tuple(map(str, range(1, 10)))
_STEP = "|".join(words.replace("{n}", "[1-9]") for words, _ in OPERATIONS.values())
_WORDS = tuple(word for words, _ in OPERATIONS.values() for word in words.replace("{n}", "").split())
LEXICON |= {
    "plan": Open(f"(?:{_STEP})(?: and then (?:{_STEP}))*", (*_WORDS, "and", "then", *DIGITS)),
    "program": Open(r"(?:x|[1-9]|[+*()-])(?: (?:x|[1-9]|[+*()-]))*", ("x", "+", "-", "*", "(", ")", *DIGITS)),
}


def plan_words(steps: Sequence[tuple[str, int]]) -> str:
    return " and then ".join(OPERATIONS[name][0].format(n=n) for name, n in steps)


def write(plan: str) -> str:
    """The program for a plan, as an expert writes it: brackets only where they are needed."""
    program, loose = "x", False
    for step in plan.split(" and then "):
        name = next(o for o, (words, _) in OPERATIONS.items() if step.startswith(words.split("{")[0]))
        inner = f"( {program} )" if loose and name == "times" else program
        program, loose = OPERATIONS[name][1].format(x=inner, n=step.rpartition(" ")[2]), name != "times"
    return program


def same_function(plan: str, program: str) -> bool:
    """Does the program compute what the plan says? Tried on eleven numbers, one of them beyond any product of small
    differences."""
    right = write(plan)
    try:
        return all(evaluate(program, x) == evaluate(right, x) for x in (*range(10), 1000))
    except ValueError:
        return False


def evaluate(program: str, x: int) -> int:
    """sum := product (('+' | '-') product)*;  product := atom ('*' atom)*;  atom := 'x' | digit | '(' sum ')'"""
    tokens = program.split()[::-1]
    if len(tokens) > 64:  # nobody means a program that long
        raise ValueError(program)
    value = _sum(tokens, x)
    if tokens:
        raise ValueError(program)
    return value


def _sum(tokens: list[str], x: int) -> int:
    value = _product(tokens, x)
    while tokens and tokens[-1] in "+-":
        value += (1 if tokens.pop() == "+" else -1) * _product(tokens, x)
    return value


def _product(tokens: list[str], x: int) -> int:
    value = _atom(tokens, x)
    while tokens and tokens[-1] == "*":
        tokens.pop()
        value *= _atom(tokens, x)
    return value


def _atom(tokens: list[str], x: int) -> int:
    token = tokens.pop() if tokens else ""
    if token == "(":
        value = _sum(tokens, x)
        if not tokens or tokens.pop() != ")":
            raise ValueError("a bracket is open")
        return value
    if token == "x":
        return x
    if re.fullmatch("[1-9]", token):
        return int(token)
    raise ValueError(token)
