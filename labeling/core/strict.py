"""Files that people write (YAML, JSON), parsed safely and checked strictly, with the line of every problem."""

from __future__ import annotations

import difflib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from .errors import InputError

MAX_BYTES = 1_000_000
_PLAIN_KINDS = ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in _PLAIN_KINDS)
_EXPECTED = {
    "string_type": "text",
    "list_type": "a list",
    "model_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
}

Location = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


class StrictModel(BaseModel):
    """Base of everything that is read from a file: unknown keys and wrong types are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file.

    Attributes:
        name: the file as shown in messages.
        data: plain mappings, lists, text, numbers, true / false and None.
        lines: first line, counted from 1, of each place that the file names.
    """

    name: str
    data: Any
    lines: Mapping[Location, int]

    def problem(self, where: Location, message: str) -> str:
        """Return ``file:line: key: message`` for the nearest place that the file really has."""
        known = next((where[:n] for n in range(len(where), -1, -1) if where[:n] in self.lines), ())
        key = show_location(where)
        return f"{self.name}:{self.lines.get(known, 1)}: {f'{key}: ' if key else ''}{message}"


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """Return the text of a UTF-8 file of at most ``limit`` bytes.

    Raises:
        InputError: there is none, it is a folder or a pipe (which is not waited for), too large, or not UTF-8.
    """
    try:
        with open(path, "rb", buffering=0, opener=_open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"{path}: expected a text file, found a folder, pipe or device: name a file")
            raw = file.read(limit + 1)
    except IsADirectoryError as error:
        raise InputError(f"{path}: expected a text file, found a folder: name a file in it") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file: check the name") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}: check its permissions") from error
    if len(raw) > limit:
        raise InputError(f"{path}: expected at most {limit:,} bytes of text, the file is larger: name another")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        found = f"found byte 0x{raw[error.start]:02x}"
        raise InputError(f"{path}:{line}: expected UTF-8 text, {found}: save it as UTF-8") from error


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def read_document(path: Path) -> Document:
    """Parse a .yaml, .yml or .json file.

    Raises:
        InputError: the file cannot be read, is too large, is not UTF-8, is malformed, repeats a key, or uses YAML tags,
            anchors or aliases.
    """
    text = read_text(path)
    if path.suffix.lower() == ".json":
        return parse_json(text, str(path))
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Document:
    """Parse YAML 1.2 without tags, anchors and aliases; an empty text gives None. Raises InputError."""
    yaml = YAML(typ="safe", pure=True)
    lines: dict[Location, int] = {(): 1}
    try:
        root = yaml.compose(text)
        if root is None:
            return Document(name, None, lines)
        _index(root, (), lines, name)
        return Document(name, yaml.constructor.construct_document(root), lines)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise InputError(f"{name}:{line}: not valid YAML: {error.problem or error.context}") from error
    except YAMLError as error:
        raise InputError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise InputError(f"{name}: nested too deeply to be read") from error
    except ValueError as error:
        raise InputError(f"{name}: not valid YAML: {error}") from error


def parse_json(text: str, name: str) -> Document:
    """Parse JSON; a key that comes twice in one mapping is an error. Raises InputError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise InputError(f"{name}: key {key!r} comes twice, the first would be lost: keep one")
            seen[key] = value
        return seen

    try:
        data = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise InputError(f"{name}:{error.lineno}: not valid JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{name}: not readable as JSON: {error}") from error
    lines: dict[Location, int] = {(): 1}
    # JSON is YAML but for tabs, which it only has between tokens: the YAML nodes know the lines.
    root = YAML(typ="safe", pure=True).compose(text.replace("\t", " "))
    if root is not None:
        _index(root, (), lines, name)
    return Document(name, data, lines)


def validate(model: type[Model], document: Document) -> Model:
    """Check a document against a model.

    Raises:
        InputError: one line per problem, all problems at once, in the order of the file.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        problems = [(tuple(item["loc"]), _explain(model, item)) for item in error.errors(include_url=False)]
    raise_problems(document, problems)
    raise AssertionError("a ValidationError names at least one problem")


def raise_problems(document: Document, problems: Iterable[tuple[Location, str]]) -> None:
    """Raise one InputError with a line per problem, sorted by line; do nothing when there is none."""
    lines = sorted(
        (document.problem(where, message) for where, message in problems),
        key=lambda line: int(line.removeprefix(f"{document.name}:").split(":", 1)[0]),
    )
    if lines:
        raise InputError("\n".join(dict.fromkeys(lines)))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` for the nearest known word, or the list of known words when none is near."""
    choices = list(known)
    near = difflib.get_close_matches(word.lower(), choices, n=1, cutoff=0.6)
    if near:
        return f", did you mean {near[0]!r}?"
    return f"; known: {', '.join(choices)}" if choices else ""


def show_location(where: Sequence[str | int]) -> str:
    """Return a location as people write it: ``classes[2].prompts[0]``, list positions counted from 0."""
    shown = ""
    for part in where:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            name = part if part.isidentifier() else repr(part)
            shown += f".{name}" if shown else name
    return shown


def _index(node: Node, where: Location, lines: dict[Location, int], name: str) -> None:
    """Note the line of every key and item, and refuse what a settings file has no use for."""
    line = node.start_mark.line + 1
    if node.anchor:
        raise InputError(f"{name}:{line}: YAML anchors and aliases are not read here: write the value out")
    if node.tag not in _PLAIN_TAGS:
        raise InputError(f"{name}:{line}: YAML tag {node.tag!r} is not read here: write a plain value")
    lines.setdefault(where, line)
    if isinstance(node, MappingNode):
        for key, value in node.value:
            place = (*where, str(key.value))
            lines[place] = key.start_mark.line + 1
            _index(key, (*place, "key"), {}, name)
            _index(value, place, lines, name)
    elif isinstance(node, SequenceNode):
        for position, item in enumerate(node.value):
            _index(item, (*where, position), lines, name)


def _explain(model: type[BaseModel], item: Any) -> str:
    """Put one pydantic error into words: what was expected, what came."""
    kind, where, value = item["type"], item["loc"], item["input"]
    if kind == "extra_forbidden":
        return f"unknown key {where[-1]!r}{did_you_mean(str(where[-1]), _keys_beside(model, where))}"
    if kind == "missing":
        return "this key is required"
    if kind in _EXPECTED:
        hint = ": put it in quotes" if kind == "string_type" and isinstance(value, int | float) else ""
        return f"expected {_EXPECTED[kind]}, got {_short(value)}{hint}"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    return f"{item['msg'].removeprefix('Input ').replace('should be', 'expected')}, got {_short(value)}"


def _keys_beside(model: type[BaseModel], where: Sequence[str | int]) -> list[str]:
    """Return the keys that are allowed where an unknown one was found."""
    fields = model.model_fields
    for part in where[:-1]:
        if isinstance(part, str):
            fields = next((inner.model_fields for inner in _models_in(fields[part].annotation)), fields)
    return list(fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


def _short(value: object) -> str:
    if value is None:
        return "nothing"
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
