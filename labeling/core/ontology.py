"""The ordered classes of a project, each with its prompts; a class id is a position and is never stored."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from .errors import InputError
from .strict import Document, Location, StrictModel, did_you_mean, raise_problems, read_document, validate

Problem = tuple[Location, str]

_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)
class OntologyClass:
    """One class; text is kept in Unicode NFC with single spaces.

    Attributes:
        name: identity of the class.
        prompts: texts for the detector, at least one, tried in order.
        threshold: lowest detector score kept for this class, in [0, 1]; None for the detector's default.
        guide: instructions for the people who review.
        aliases: other names under which the class comes back from people, such as one it was given in Label Studio.
        synonyms: further texts that `labelstill calibrate` tries as prompts; they find nothing by themselves.
    """

    name: str
    prompts: tuple[str, ...]
    threshold: float | None = None
    guide: str = ""
    aliases: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _clean(self.name))
        object.__setattr__(self, "prompts", tuple(_clean(prompt) for prompt in self.prompts))
        object.__setattr__(self, "aliases", tuple(_clean(alias) for alias in self.aliases))
        object.__setattr__(self, "synonyms", tuple(_clean(synonym) for synonym in self.synonyms))


@dataclass(frozen=True, slots=True)
class Ontology:
    """Classes in order; ``classes[i]`` has class id i.

    Raises:
        InputError: no class, an empty or repeated name or alias, no prompt, an empty prompt, a prompt that two classes
            (or one class twice) claim, a threshold outside [0, 1], or control characters.
    """

    classes: tuple[OntologyClass, ...]

    def __post_init__(self) -> None:
        problems = find_problems(self.classes)
        if problems:
            raise InputError("; ".join(message for _, message in problems))

    @property
    def names(self) -> tuple[str, ...]:
        """Class names; the position is the class id."""
        return tuple(entry.name for entry in self.classes)

    @property
    def prompts(self) -> list[tuple[str, int]]:
        """Every prompt with the id of its class, in order."""
        return [(prompt, class_id) for class_id, entry in enumerate(self.classes) for prompt in entry.prompts]

    @property
    def hash(self) -> str:
        """16 hex digits over names and prompts in order; thresholds, guides, aliases and synonyms do not count."""
        content = json.dumps([[entry.name, entry.prompts] for entry in self.classes])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def index(self, name: str) -> int:
        """Return the class id of a name. Raises InputError for an unknown one."""
        try:
            return self.names.index(_clean(name))
        except ValueError:
            raise InputError(f"unknown class {name!r}{did_you_mean(name, self.names)}") from None

    def class_of(self, label: str) -> str | None:
        """Return the name of the class that a label from elsewhere stands for, itself or as an alias; None without."""
        label = _clean(label)
        return next((entry.name for entry in self.classes if label in (entry.name, *entry.aliases)), None)

    def extended_with(self, other: Ontology) -> Ontology:
        """Return this ontology with the prompts of known classes replaced and new classes appended.

        A threshold, a guide, aliases or synonyms that ``other`` leaves open stay as they are here. Raises InputError
        where both together are no valid ontology, for example where a prompt moves to a second class.
        """
        updates = {entry.name: entry for entry in other.classes}
        merged = [_updated(entry, updates.pop(entry.name, entry)) for entry in self.classes]
        return Ontology((*merged, *updates.values()))


class ClassEntry(StrictModel):
    """A class as people write it: a name alone (which is then the prompt), or a mapping."""

    name: str = Field(description="Identity of the class.")
    prompts: list[str] | None = Field(default=None, description="Texts for the detector; the name when left out.")
    threshold: float | None = Field(
        default=None, ge=0, le=1, description="Lowest detector score kept; the detector's default when left out."
    )
    guide: str = Field(default="", description="Instructions for the people who review.")
    aliases: list[str] = Field(default=[], description="Other names that the class has in Label Studio.")
    synonyms: list[str] = Field(default=[], description="Further prompts that labelstill calibrate tries.")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    def to_class(self) -> OntologyClass:
        """Return the class; its prompt is its name where none is written."""
        prompts = (self.name,) if self.prompts is None else tuple(self.prompts)
        return OntologyClass(self.name, prompts, self.threshold, self.guide, tuple(self.aliases), tuple(self.synonyms))


class _OntologyFile(StrictModel):
    classes: list[ClassEntry]


def parse_classes(text: str) -> Ontology:
    """Read the short form: ``a, b: p | q`` is class a with prompt a, and class b with prompts p and q.

    Raises:
        InputError: an empty class or prompt, or classes that are no valid ontology.
    """
    if not text.strip():
        raise InputError("expected classes such as 'forklift, pallet: wooden pallet | plastic pallet', got nothing")
    classes = []
    for position, part in enumerate(text.split(","), start=1):
        name, colon, prompts = part.partition(":")
        if not name.strip():
            raise InputError(f"class {position} of {text!r} is empty: write names between the commas")
        classes.append(OntologyClass(name, tuple(prompts.split("|")) if colon else (name,)))
    return Ontology(tuple(classes))


def from_autodistill(mapping: Mapping[str, str]) -> Ontology:
    """Read autodistill's ``{prompt: class}``; prompts of one class are gathered where it first appears."""
    prompts: dict[str, list[str]] = {}
    for prompt, name in mapping.items():
        prompts.setdefault(_clean(name), []).append(prompt)
    return Ontology(tuple(OntologyClass(name, tuple(texts)) for name, texts in prompts.items()))


def load_ontology(path: Path) -> Ontology:
    """Read an ontology file.

    YAML or JSON: ``classes:`` with a list, or the list alone; an item is a name or a mapping with name, prompts,
    threshold and guide. JSON may also be autodistill's ``{prompt: class}``.

    Raises:
        InputError: one line per problem, as ``file:line: key: what is wrong``.
    """
    document = read_document(path)
    data = document.data
    if data is None:
        raise_problems(document, [((), "expected 'classes:' with a list of classes, the file is empty")])
    if isinstance(data, dict) and data and all(isinstance(name, str) for name in data.values()):
        if document.name.lower().endswith(".json"):
            return _named(document, data)
        raise_problems(document, [((), "expected 'classes:' with a list of classes, got other keys")])
    prefix: Location = ("classes",)
    if isinstance(data, list):
        lines = {("classes", *where): line for where, line in document.lines.items()}
        document = Document(document.name, {"classes": data}, lines)
    entries = validate(_OntologyFile, document).classes
    return checked_ontology(entries, document, prefix)


def checked_ontology(entries: Sequence[ClassEntry], document: Document, where: Location) -> Ontology:
    """Build the ontology from a checked list that stands at ``where`` in a file, naming the line of each problem."""
    classes = tuple(entry.to_class() for entry in entries)
    raise_problems(document, [((*where, *place), message) for place, message in find_problems(classes)])
    return Ontology(classes)


def find_problems(classes: Sequence[OntologyClass]) -> list[Problem]:
    """Return everything that keeps these classes from being an ontology, each with its place in the list."""
    if not classes:
        return [((), "expected at least one class, got none")]
    problems: list[Problem] = []
    names: dict[str, str] = {}
    owners: dict[str, str] = {}
    for position, entry in enumerate(classes):
        label = f"class {entry.name!r}" if entry.name else f"class {position + 1}"
        if fault := _text_fault(entry.name):
            problems.append(((position, "name"), f"the name of class {position + 1} {fault}"))
        elif (folded := entry.name.casefold()) in names:
            problems.append(((position, "name"), f"{label} comes twice (first as {names[folded]!r}): keep one"))
            continue  # its prompts are most likely the same again
        else:
            names[folded] = entry.name
        if not entry.prompts:
            problems.append(((position, "prompts"), f"{label} has no prompt: write at least one"))
        for number, prompt in enumerate(entry.prompts):
            place = (position, "prompts", number)
            if fault := _text_fault(prompt):
                problems.append((place, f"prompt {number + 1} of {label} {fault}"))
            elif (normal := normalised_prompt(prompt)) in owners:
                problems.append(
                    (place, f"prompt {prompt!r} of {label} already belongs to class {owners[normal]!r}: keep it in one")
                )
            else:
                owners[normal] = entry.name
        if entry.threshold is not None and not 0 <= entry.threshold <= 1:
            problems.append(((position, "threshold"), f"{label} expects a threshold in [0, 1], got {entry.threshold}"))
    return problems + _synonym_problems(classes, owners) + _alias_problems(classes, names)


def _synonym_problems(classes: Sequence[OntologyClass], prompts: Mapping[str, str]) -> list[Problem]:
    """Return what is wrong with the synonyms.

    Args:
        classes: all of them.
        prompts: the name of the class of each prompt, by its normalised form.
    """
    problems: list[Problem] = []
    owners = dict(prompts)
    for position, entry in enumerate(classes):
        for number, synonym in enumerate(entry.synonyms):
            place = (position, "synonyms", number)
            if fault := _text_fault(synonym):
                problems.append((place, f"synonym {number + 1} of class {entry.name!r} {fault}"))
            elif (owner := owners.setdefault(normalised_prompt(synonym), entry.name)) != entry.name:
                problems.append(
                    (place, f"synonym {synonym!r} of class {entry.name!r} already belongs to class {owner!r}")
                )
    return problems


def _alias_problems(classes: Sequence[OntologyClass], names: Mapping[str, str]) -> list[Problem]:
    """Return what is wrong with the aliases.

    Args:
        classes: all of them.
        names: the name of each class by its casefolded form.
    """
    problems: list[Problem] = []
    owners = dict(names)
    for position, entry in enumerate(classes):
        for number, alias in enumerate(entry.aliases):
            place = (position, "aliases", number)
            if fault := _text_fault(alias):
                problems.append((place, f"alias {number + 1} of class {entry.name!r} {fault}"))
            elif (folded := alias.casefold()) in owners:
                problems.append(
                    (place, f"alias {alias!r} of class {entry.name!r} already stands for class {owners[folded]!r}")
                )
            else:
                owners[folded] = entry.name
    return problems


def normalised_prompt(prompt: str) -> str:
    """Return the form in which two prompts count as the same: lower case, single spaces."""
    return " ".join(prompt.lower().split())


def _named(document: Document, mapping: Mapping[str, str]) -> Ontology:
    try:
        return from_autodistill(mapping)
    except InputError as error:
        raise InputError(f"{document.name}: {error}") from error


def _updated(entry: OntologyClass, newer: OntologyClass) -> OntologyClass:
    threshold = entry.threshold if newer.threshold is None else newer.threshold
    return replace(
        newer,
        threshold=threshold,
        guide=newer.guide or entry.guide,
        aliases=newer.aliases or entry.aliases,
        synonyms=newer.synonyms or entry.synonyms,
    )


def _clean(text: str) -> str:
    """Normalise to NFC with single spaces; control characters stay, to be refused by name."""
    text = "".join(" " if unicodedata.category(c) == "Zs" else c for c in unicodedata.normalize("NFC", text))
    return " ".join(word for word in text.strip().split(" ") if word)


def _text_fault(text: str) -> str | None:
    """Return what is wrong with a name or a prompt, or None."""
    if not text:
        return "is empty: write it, or leave it out"
    # Direction overrides would let a name look like another one; joiners (also category Cf) belong to emoji.
    bad = [c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _DIRECTION_MARKS]
    return f"holds a control character, take it out: {text!r}" if bad else None
