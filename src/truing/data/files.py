"""Raw rows from files and from the hub, one after the other, and back into files that are whole or not there at all."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import date, time
from pathlib import Path
from typing import Any

from truing.data.rows import Row, RowError, kind
from truing.records import UserError
from truing.run.checkpoint import disk_full_is_said, sync

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<subset>[^:@]+))?(?:@(?P<split>\S+))?")
CONVERTED = "refs/convert/parquet"
# Where a row stands in its source, and the row or why it is none.
Found = Iterator[tuple[str, "Row | RowError"]]


def rows_of(source: str, limit: int | None) -> Found:
    """The rows of a file, or of `org/name[:subset][@split]` on the hub."""
    path = Path(source)
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.name.endswith(SUFFIXES))
        raise UserError(f"{source} is a folder: name one file in it ({', '.join(inside) or 'it holds no data file'}).")
    if path.is_file():
        if path.name.endswith(".parquet"):
            return _parquet(path)
        if path.name.endswith(SUFFIXES):
            return _json(path)
        raise UserError(f"{source} is not a data file: its name must end in {', '.join(SUFFIXES)}.")
    on_hub = HUB.fullmatch(source)
    if source.endswith(SUFFIXES) or source.startswith((".", "/", "~")) or not on_hub:
        raise UserError(f"{source}: there is no such file.")
    return _hub(source, **on_hub.groupdict(), limit=limit)


def _json(path: Path) -> Found:
    number = 0
    try:
        with (gzip.open if path.name.endswith(".gz") else open)(path, "rb") as opened:
            if ".jsonl" not in path.name and opened.peek(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[":
                yield from _array(path, opened.read())
                return
            for number, line in enumerate(opened, 1):
                if not line.isspace():
                    yield f"line {number}", _parse(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path} line {number + 1}: the gzip data is damaged or cut off ({error}). Fetch the file again."
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def _array(path: Path, text: bytes) -> Found:
    rows = _parse(text, dict | list)
    if not isinstance(rows, list):
        raise UserError(f"{path}: {rows}.")
    for number, row in enumerate(rows, 1):
        yield f"row {number}", row if isinstance(row, dict) else RowError(f"the row is {kind(row)}, not an object")


def _no_constant(name: str) -> None:
    raise RowError(f"{name}, which JSON does not have")


DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _parse(line: bytes, wanted: Any = dict) -> Any:
    try:
        row = DECODER.decode(line.decode())
        if b"\\u" in line.lower():
            json.dumps(row, ensure_ascii=False).encode()
    except RowError as error:
        return error
    except UnicodeDecodeError:
        return RowError("not UTF-8 text")
    except UnicodeEncodeError:
        return RowError("half a character (a lone surrogate such as \\ud83d)")
    except (ValueError, RecursionError):
        return RowError("not JSON")
    return row if isinstance(row, wanted) else RowError(f"the line is {kind(row)}, not an object")


def _parquet(path: Path) -> Found:
    parquet, arrow = extra("pyarrow.parquet", str(path)), extra("pyarrow", str(path))
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", _without_nulls(row)
    except (arrow.ArrowException, OSError) as error:
        raise UserError(f"{path} after row {number}: not readable as parquet ({_first_line(error)}).") from error


def _hub(source: str, name: str, subset: str | None, split: str | None, limit: int | None) -> Found:
    if name == "Anthropic/hh-rlhf" and subset is None:
        raise UserError(
            f"{source} mixes four sets of comparisons that mean different things (and one of another kind). Name one: "
            "helpful-base, helpful-rejection-sampled, helpful-online or harmless-base, as in "
            f"{name}:helpful-base."
        )
    datasets = extra("datasets", source)
    asked = {"split": split or "train", "streaming": limit is not None}
    try:
        try:
            named = subset is None or subset in datasets.get_dataset_config_names(name)
            place = {"name": subset} if named else {"data_dir": subset}
            rows = datasets.load_dataset(name, **place, **asked)
        except RuntimeError as error:
            if "script" not in str(error):
                raise
            # A repository that needs its own code is not run; the hub keeps its rows as tables on a branch beside it.
            rows = datasets.load_dataset(name, data_dir=subset, revision=CONVERTED, **asked)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{source}: there is no such file, and it cannot be had from the hub either ({_first_line(error)})."
        ) from error
    return ((f"row {number}", _without_nulls(row)) for number, row in enumerate(rows, 1))


def extra(module: str, source: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UserError(f"{source} needs the package {package}: pip install 'truing[data]'.") from error


def _without_nulls(value: Any) -> Any:
    """A table has every column in every row: there a null says 'absent', for all keys at any depth."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def check_target(
    path: str | os.PathLike[str], *sources: str | Sequence[str] | None, endings: Sequence[str] = SUFFIXES
) -> None:
    """Refuse now what could not be written later, when much has been computed, and what is one of the `sources`."""
    path = Path(path)
    named = [name for source in sources for name in ([source] if isinstance(source, str) else source or ())]
    if any(Path(name).resolve() == path.resolve() for name in named):
        raise UserError(f"{path} is the file to read: write to another one.")
    if not path.name.endswith(tuple(endings)):
        what = "a data file" if endings is SUFFIXES else "what is written here"
        raise UserError(f"{path}: the name of {what} must end in {', '.join(endings)}.")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file to write.")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{path} cannot be written: {above} is no folder in which that is allowed.")


def beside(path: str | os.PathLike[str], ending: str) -> Path:
    """A file about a data file: with `ending` in the place of what says how the data are written."""
    path = Path(path)
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), "")
    return path.with_name(path.name.removesuffix(suffix) + ending)


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """JSON lines, a JSON list or parquet, by the name of the file."""
    check_target(path)
    with replaced(path) as draft:
        if path.name.endswith(".parquet"):
            return _write_parquet(path, draft, list(rows))
        with open(draft, "wb") as raw:
            # Without name and time in its header, the same rows always make the same file.
            packed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.name.endswith(".gz") else nullcontext(raw)
            with packed as file:
                return _write_json(file, path, rows)


def _write_json(file: Any, path: Path, rows: Iterable[Row]) -> int:
    first, between, last = (b"[\n", b",\n", b"\n]\n") if ".jsonl" not in path.name else (b"", b"\n", b"\n")
    count = 0
    for count, row in enumerate(rows, 1):
        try:
            file.write((first if count == 1 else between) + json_bytes(row))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{path}: row {count} holds what JSON cannot say ({error}). Nothing was written."
            ) from error
    file.write(last)
    return count


def json_bytes(value: Any, strict: bool = True) -> bytes:
    """Readable where it can be, escaped where a text holds half a character. Strict refuses NaN, bytes and the like."""
    default = _date if strict else repr
    text = json.dumps(value, ensure_ascii=False, allow_nan=not strict, default=default)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=not strict, default=default).encode()


def _date(value: Any) -> str:
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(f"a value of type {type(value).__name__}")


def _write_parquet(path: Path, draft: Path, rows: list[Row]) -> int:
    parquet, arrow = extra("pyarrow.parquet", str(path)), extra("pyarrow", str(path))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    try:
        parquet.write_table(arrow.table({key: [row.get(key) for row in rows] for key in columns}), draft)
    except (arrow.ArrowException, TypeError) as error:
        raise UserError(
            f"{path}: parquet needs one type for each column, and these rows mix them ({_first_line(error)}). "
            "Write .jsonl instead."
        ) from error
    return len(rows)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A draft beside `path`, which takes its place when everything went well and vanishes when not."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.writing")
    with disk_full_is_said(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            sync(draft)
            os.replace(draft, path)
            sync(path.parent)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
