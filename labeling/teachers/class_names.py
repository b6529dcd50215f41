"""The fixed vocabulary of a closed detector: where its names come from, and prompts matched against it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from ..core.errors import BackendError, InputError
from ..core.ontology import Ontology
from ..core.strict import read_document, read_text

_COCO_CLASSES = 80


def names_of_checkpoint(
    stored: object, count: int, file: Path | None, weights: Path, coco: Callable[[], Sequence[str]]
) -> tuple[str, ...]:
    """Return the class names of a checkpoint: its own, else those of a file, else COCO's for a head of 80 classes.

    Args:
        stored: what the checkpoint itself says: a list, a mapping index -> name, JSON of either, or None.
        count: classes of the head.
        file: the user's file of names, or None.
        weights: the checkpoint, for messages.
        coco: gives the 80 COCO names in order.

    Raises:
        BackendError: no names, or not as many as the head has classes.
        InputError: a file of another length, or one that contradicts the checkpoint.
    """
    given = read_class_names(file) if file is not None else None
    if given is not None and len(given) != count:
        raise InputError(f"{file} has {len(given)} class names, {weights} has {count} classes: give one line per class")
    own = _plain_names(stored, weights)
    if own is not None:
        if len(own) != count:
            raise BackendError(f"weights {weights} carry {len(own)} class names for {count} classes")
        if given is not None and given != own:
            raise InputError(f"{file} contradicts the class names inside {weights}: leave --class-names away")
        return own
    if given is not None:
        return given
    if count == _COCO_CLASSES:
        return tuple(coco())
    raise BackendError(f"weights {weights} carry no names for their {count} classes: give them with --class-names FILE")


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read class names: text with one name per line; or YAML or JSON with a list, or with the key ``names``.

    Raises:
        InputError: the file cannot be read, or has no names.
    """
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        data = read_document(path).data
        names = _listed(data.get("names") if isinstance(data, dict) and "names" in data else data)
    else:
        names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not names:
        raise InputError(f"class names {path}: expected a list of names, or one name per line")
    return names


def match_prompts(ontology: Ontology, names: Sequence[str]) -> dict[int, tuple[str, int]]:
    """Return, by class index of the detector, the prompt and the class id of the ontology that ask for it.

    Case and spaces do not count.

    Raises:
        InputError: a prompt that the detector does not know, or one class of it asked for by two prompts.
    """
    known = {_folded(name): index for index, name in enumerate(names)}
    wanted: dict[int, tuple[str, int]] = {}
    for prompt, class_id in ontology.prompts:
        index = known.get(_folded(prompt))
        if index is None:
            near = difflib.get_close_matches(_folded(prompt), known, n=1, cutoff=0.0)
            nearest = f", the nearest is {names[known[near[0]]]!r}" if near else ""
            raise InputError(f"prompt {prompt!r} is not among the {len(names)} classes of this detector{nearest}")
        if index in wanted:
            raise InputError(f"prompts {wanted[index][0]!r} and {prompt!r} both ask for {names[index]!r}: keep one")
        wanted[index] = (prompt, class_id)
    return wanted


def match_classes(ontology: Ontology, names: Sequence[str]) -> dict[int, tuple[str, int]]:
    """Return, by class index of a student, the class itself in place of a prompt, and its id in the ontology.

    A student was taught classes by their names. Classes that came later it does not know, and finds none of.

    Raises:
        InputError: it knows none of the classes.
    """
    places = {name: class_id for class_id, name in enumerate(ontology.names)}
    wanted = {index: (name, places[name]) for index, name in enumerate(names) if name in places}
    if not wanted:
        raise InputError(
            f"the student was taught {', '.join(names)}, none of the classes here ({', '.join(ontology.names)}): name "
            "another one with --weights, or train one"
        )
    return wanted


def _plain_names(stored: object, weights: Path) -> tuple[str, ...] | None:
    if isinstance(stored, str):
        try:
            stored = json.loads(stored)
        except json.JSONDecodeError as error:
            raise BackendError(f"weights {weights}: 'names' in the metadata is no JSON ({error})") from error
    return _listed(stored) or None


def _listed(value: object) -> tuple[str, ...]:
    if isinstance(value, dict):
        value = [name for _, name in sorted(value.items(), key=lambda item: int(item[0]))]
    return tuple(str(name).strip() for name in value) if isinstance(value, list | tuple) else ()


def _folded(text: str) -> str:
    return "".join(text.casefold().split())
