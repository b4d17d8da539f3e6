"""The command: a literal table of verbs, and what holds for each of them.

Settings come from `--config FILE.yaml` and `--section.key value`; `--dry-run` prints them; a mistake of the user's ends
in one sentence and exit code 2, a mistake of ours in a traceback and exit code 1. Nothing is imported before its verb
is called.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple

from truing import __version__
from truing.records import UserError


class Verb(NamedTuple):
    """Where a verb's settings class and function are (`module:name`), and what it does in one line."""

    settings: str
    function: str
    line: str


VERBS: dict[str, Verb] = {
    "demo": Verb("truing.world.lab:Demo", "truing.commands.world:demo", "the whole laboratory in a few minutes"),
    "sft": Verb("truing.align.sft:Sft", "truing.align.sft:sft", "learn from demonstrations"),
    "distill": Verb("truing.align.distill:Distill", "truing.align.distill:distill", "fold a preface into the weights"),
    "pm": Verb("truing.align.preference:Pm", "truing.align.preference:pm", "train a preference model on comparisons"),
    "offline": Verb(
        "truing.align.offline:Offline", "truing.commands.offline:offline", "align on fixed data: dpo, a_lol, …"
    ),
    "compare": Verb("truing.commands.compare:Compare", "truing.commands.compare:compare", "methods × seeds, one table"),
    "ppo": Verb("truing.align.ingredients:Ppo", "truing.commands.ppo:ppo", "learn from what judges say of own answers"),
    "bestofn": Verb("truing.align.bestofn:BestOfN", "truing.commands.bestofn:bestofn", "keep the best of n answers"),
    "sample": Verb("truing.commands.ask:Sample", "truing.commands.ask:sample", "answers for a file of prompts"),
    "score": Verb("truing.commands.ask:Score", "truing.commands.ask:score", "preference scores for a data file"),
    "chat": Verb("truing.commands.ask:Chat", "truing.commands.ask:chat", "talk with a model in the terminal"),
    "eval hhh": Verb(
        "truing.commands.evaluate:Hhh", "truing.commands.evaluate:hhh", "which answer does a model choose"
    ),
    "eval mc1": Verb("truing.commands.evaluate:Mc1", "truing.commands.evaluate:mc1", "truth among what people believe"),
    "eval calibration": Verb(
        "truing.commands.measure:Calibration",
        "truing.commands.measure:calibration",
        "what does a preference model know",
    ),
    "eval ood": Verb("truing.commands.measure:Ood", "truing.commands.measure:ood", "prompts a model is not meant for"),
    "eval toxicity": Verb(
        "truing.commands.contests:Toxicity", "truing.commands.contests:toxicity", "how toxic are the answers"
    ),
    "eval tax": Verb("truing.commands.contests:Tax", "truing.commands.contests:tax", "what an intervention costs"),
    "eval arena": Verb(
        "truing.commands.contests:Arena", "truing.commands.contests:arena", "whose answers are preferred"
    ),
    "eval versus": Verb(
        "truing.commands.versus:Versus", "truing.commands.versus:compare", "one model against others, both orders"
    ),
    "rubric": Verb("truing.commands.rubric:Show", "truing.commands.rubric:show", "what the evaluations' words mean"),
    "data inspect": Verb("truing.commands.inspect:Inspect", "truing.commands.inspect:inspect", "what is in data files"),
    "data convert": Verb("truing.commands.data:Convert", "truing.commands.data:convert", "from format to format"),
    "data split": Verb("truing.commands.data:Split", "truing.commands.data:split", "splits that share no first turn"),
    "data prompts": Verb(
        "truing.commands.prompts:Prompts", "truing.commands.prompts:prompts", "more prompts like these"
    ),
    "data pretrain": Verb(
        "truing.commands.pretrain:Pretrain", "truing.commands.pretrain:pretrain", "comparisons from votes and edits"
    ),
    "data tasks": Verb("truing.commands.tasks:Tasks", "truing.commands.tasks:tasks", "nine published tasks"),
    "data cloze": Verb(
        "truing.commands.tasks:Cloze", "truing.commands.tasks:cloze", "wrong last words for task:lambada"
    ),
    "persona describe": Verb(
        "truing.commands.traits:Describe", "truing.commands.traits:describe", "a trait's file, written by a model"
    ),
    "persona extract": Verb(
        "truing.commands.persona:Extract", "truing.commands.persona:extract", "from a trait to its vector"
    ),
    "persona steer": Verb(
        "truing.commands.persona:Steer", "truing.commands.persona:steer", "what a vector does to a model"
    ),
    "persona monitor": Verb(
        "truing.commands.project:Monitor", "truing.commands.project:monitor", "is a trait told before it is said"
    ),
    "persona shift": Verb(
        "truing.commands.shift:Shift", "truing.commands.shift:shift", "where fine-tuning has moved models"
    ),
    "persona screen": Verb(
        "truing.commands.screen:Screen", "truing.commands.screen:screen", "which samples would teach a trait"
    ),
    "persona features": Verb(
        "truing.commands.traits:Features", "truing.commands.traits:features", "what a vector is made of"
    ),
    "persona convert": Verb(
        "truing.commands.project:Convert", "truing.commands.project:convert", "vectors for other tools and back"
    ),
    "world build": Verb("truing.world.build:Build", "truing.world.build:build", "train a checkpoint of the world"),
    "world corpus": Verb(
        "truing.commands.world:Corpus", "truing.commands.world:corpus", "write a data set of the world"
    ),
    "world preface": Verb(
        "truing.commands.world:Preface", "truing.commands.world:preface", "conversations for +prompt:FILE, and controls"
    ),
    "world show": Verb("truing.commands.world:Show", "truing.commands.world:show", "what its base models read"),
    "world gates": Verb("truing.commands.world:Gates", "truing.commands.world:gates", "is it fit to prove anything in"),
    "reproduce": Verb("truing.claims.run:Reproduce", "truing.claims.run:reproduce", "test the claims of a paper"),
    "report": Verb("truing.commands.report:Report", "truing.commands.report:report", "run folders as one HTML page"),
    "doctor": Verb("truing.commands.doctor:Doctor", "truing.commands.doctor:doctor", "what this machine can do"),
}


def main(argv: Sequence[str] | None = None, verbs: Mapping[str, Verb] = VERBS) -> int:
    """Run one command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = ""
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            from truing.usage import show_verbs

            show_verbs({verb: row.line for verb, row in verbs.items()}, __version__)
        elif words[0] == "--version":
            print(f"truing {__version__}")
        else:
            name, rest = _find(words, verbs)
            _call(name, verbs[name], rest)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # `truing … | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _stop(name, "interrupted; repeat the command, and a run goes on where it stopped.", 130)
    except Exception as error:
        if sentence := _sentence(error):
            return _stop(name, sentence, 2)
        traceback.print_exc()
        return _stop(name, "this is a mistake in Truing, not yours; please report it with the lines above.", 1)


def _find(words: list[str], verbs: Mapping[str, Verb]) -> tuple[str, list[str]]:
    """The verb (one or two words) at the start of a command line, and the words after it."""
    for count in (2, 1):
        if (name := " ".join(words[:count])) in verbs:
            return name, words[count:]
    below = [verb.split()[1] for verb in verbs if verb.split()[0] == words[0] and " " in verb]
    if below and (len(words) == 1 or words[1].startswith("-")):
        raise UserError(f"'{words[0]}' needs one more word: {', '.join(below)}.")
    typed = " ".join(words[:2]) if below else words[0]
    close = get_close_matches(typed, list(verbs), 1, 0.5) or get_close_matches(" ".join(words[:2]), list(verbs), 1, 0.8)
    hint = f"did you mean '{close[0]}'?" if close else "'truing --help' lists the verbs."
    raise UserError(f"'{typed}' is not a verb; {hint}")


def _call(name: str, verb: Verb, words: list[str]) -> None:
    from truing.arguments import parse
    from truing.config import load

    config, words = _pull_config(words)
    flags = {flag for flag in ("--dry-run", "--json", "--help", "-h") if flag in words}
    words = [word for word in words if word not in flags]
    cls, function = _named(verb.settings), _named(verb.function)
    if flags & {"--help", "-h"}:
        from truing.usage import show_options

        return show_options(name, verb.line, cls)
    settings = load(cls, config or {}, parse(cls, words))
    if "--dry-run" in flags:
        return _show_recipe(settings, function)
    if "--json" in flags:
        from truing.run import set_output

        set_output("json")
    conclude(function(settings))


def conclude(result: Any) -> Any:
    """A run that has ended gets its page."""
    from truing.run import Run, say

    if isinstance(result, Run):
        from truing.commands.report import write_report

        say(f"report: {write_report(result.folder)}")
    return result


def _pull_config(words: list[str]) -> tuple[str | None, list[str]]:
    """The file after `--config`, and the other words."""
    for i, word in enumerate(words):
        if word.startswith("--config="):
            return word.removeprefix("--config="), words[:i] + words[i + 1 :]
        if word == "--config":
            if i + 1 == len(words):
                raise UserError("--config needs the name of a YAML file after it.")
            return words[i + 1], words[:i] + words[i + 2 :]
    return None, words


def _show_recipe(settings: Any, function: Any) -> None:
    """The recipe, and what the verb's module estimates as comments below it: the output stays a recipe."""
    from truing.config import dump

    print(dump(settings), end="")
    estimate = getattr(sys.modules[function.__module__], "estimate", None)
    for line in str(estimate(settings)).splitlines() if estimate else ():
        print(f"# {line}".rstrip())


def _named(path: str) -> Any:
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise UserError("this verb is not part of this version yet.") from None
        raise


def _sentence(error: Exception) -> str:
    """What to tell the user if the cause lies outside Truing, else nothing."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "truing").startswith("truing"):
        return f"the package '{error.name}' is needed for this and not installed: pip install {error.name}."
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory: lower optim.micro_tokens (it does not change the result) or take a smaller model."
    if isinstance(error, OSError) and error.strerror:  # disk full, no permission, no such file …
        return f"{error.filename}: {error.strerror.lower()}." if error.filename else f"{error.strerror.lower()}."
    return ""


def _stop(verb: str, sentence: str, code: int) -> int:
    sys.stdout.flush()
    print(f"truing {verb}: {sentence}" if verb else f"truing: {sentence}", file=sys.stderr)
    return code
