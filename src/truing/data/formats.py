"""The table of formats, one row each. Detection looks at a file's first row; the most telling columns come first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from truing.data import choices, hh, others, own, sites, tasks, trl
from truing.data.rows import Note, Row, RowError
from truing.data.trl import has
from truing.records import Example, UserError


@dataclass(frozen=True, slots=True)
class Format:
    """How rows of one format are recognised, read and written.

    `columns` are the keys that it understands; any other goes to the example's meta, and from there back into the row.
    `spent` are keys of meta that `write_row` has put to use itself; None says all of them.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    matches: Callable[[Row], bool]
    read_row: Callable[[Row, Note], Example]
    write_row: Callable[[Example], Row]
    spent: tuple[str, ...] | None = ()

    def read(self, row: Row, note: Note, source: str) -> Example:
        example = self.read_row(row, note)
        extra = {key: row[key] for key in row if key not in self.columns}
        meta = {**example.meta, **extra}
        return Example(example.prompt, example.answers, example.judgements, example.source or source, meta)

    def write(self, example: Example) -> Row:
        row = self.write_row(example)
        if self.spent is None:
            return row
        extra = {key: value for key, value in example.meta.items() if key not in self.spent}
        if clash := extra.keys() & set(self.columns):
            raise RowError(f"its meta has the key '{min(clash)}', which is a column of this format")
        return {**row, **extra}


OWN = ("id", "prompt", "answers", "judgements", "source", "meta")
PAIR, STEPS, ALPACA = ("chosen", "rejected"), ("completions", "labels"), ("instruction", "input", "output")
TABLE = (
    Format("scored", "scored answers", ("prompt", "answers", "scores"),
           others.is_scored, others.read_scored, others.write_scored),
    Format("stack-exchange", "Stack Exchange preferences", sites.EXCHANGE,
           sites.is_exchange, sites.read_exchange, sites.write_exchange),
    Format("shp", "SHP", sites.SHP, has(*sites.SHP[:3]), sites.read_shp, sites.write_shp),
    Format("summaries", "Learning to Summarise comparisons", ("info", "summaries", "choice", "worker"),
           has("info", "summaries", "choice"), tasks.read_summaries, tasks.not_written),
    Format("hellaswag", "HellaSwag", ("ctx", "endings", "label"),
           has("ctx", "endings"), tasks.read_hellaswag, tasks.not_written),
    Format("ethics", "ETHICS", ("label", "input", "scenario", "excuse", "trait", "baseline", "less_pleasant"),
           tasks.is_ethics, tasks.read_ethics, tasks.not_written),
    Format("solutions", "solutions that passed their tests or not", ("prompt", "solution", "passed"),
           has("prompt", "solution", "passed"), tasks.read_solution, tasks.not_written),
    Format("lambada", "texts whose last word is asked for", ("text",),
           lambda row: False, tasks.read_lambada, tasks.not_written),  # any text looks like one: only by name
    Format("truing", "Truing", OWN, has("answers"), own.read, own.write, spent=None),
    Format("pro", "PRO ranked list", ("prefix", "suffix", "reward"),
           has("prefix", "suffix"), others.read_pro, others.write_pro),
    Format("stepwise", "TRL stepwise", ("prompt", *STEPS), has(*STEPS), trl.read_stepwise, trl.write_stepwise),
    Format("hh-rlhf", "HH-RLHF", PAIR, hh.detect, hh.read, hh.write, spent=("unspaced",)),
    Format("preference-implicit", "TRL preference with implicit prompt", PAIR,
           trl.prompt_is_implicit, trl.read_implicit, trl.write_implicit),
    Format("preference", "TRL preference", ("prompt", *PAIR),
           trl.is_preference, trl.read_preference, trl.write_preference),
    Format("unpaired", "TRL unpaired preference", ("prompt", "completion", "label"),
           has("completion", "label"), trl.read_unpaired, trl.write_unpaired),
    Format("cloze", "texts to complete", ("text", "completion", "others"),
           choices.is_cloze, choices.read_cloze, choices.write_cloze),
    Format("prompt-completion", "TRL prompt-completion", ("prompt", "completion"),
           has("completion"), trl.read_completion, trl.write_completion),
    Format("sharegpt", "ShareGPT", ("conversations",),
           has("conversations"), others.read_sharegpt, others.write_sharegpt),
    Format("messages", "TRL language modelling, messages", ("messages",),
           has("messages"), trl.read_conversation, trl.write_conversation),
    Format("choices", "test items with given answers", choices.COLUMNS,
           choices.is_choice, choices.read_choice, choices.write_choice),
    Format("alpaca", "Alpaca", ALPACA, has("instruction", "output"), others.read_alpaca, others.write_alpaca),
    Format("prompt-only", "TRL prompt-only", ("prompt",), has("prompt"), trl.read_prompt_only, trl.write_prompt_only),
    Format("text", "TRL language modelling, text", ("text",), has("text"), trl.read_text, trl.write_text),
)  # fmt: skip
FORMATS = {format.name: format for format in TABLE}


def named(name: str) -> Format:
    if name not in FORMATS:
        raise UserError(f"there is no format '{name}'. Formats: {', '.join(FORMATS)}.")
    return FORMATS[name]


def detect(row: Row) -> Format | None:
    return next((format for format in TABLE if format.matches(row)), None)
