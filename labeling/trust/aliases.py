"""Further prompts to try per class: given on the command line, in a file, or as synonyms in project.yaml."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..core.errors import InputError
from ..core.ontology import Ontology, load_ontology, normalised_prompt, parse_classes

MOST = 8
"""Prompts tried per class; each one costs the detector a pass over all gold images."""


def prompt_options(ontology: Ontology, given: str | None) -> tuple[tuple[str, ...], ...]:
    """Return every prompt to try per class: its own first, then those given, then its synonyms; none twice.

    Args:
        ontology: the classes in force.
        given: ``class: a | b, other: c``, or a file as `--ontology` takes.

    Raises:
        InputError: the file cannot be read, an unknown class, a prompt of two classes, or more than 8 for one class.
    """
    extra = {} if given is None else _given(ontology, given)
    options = []
    for entry in ontology.classes:
        texts = {
            normalised_prompt(text): text
            for text in reversed((*entry.prompts, *extra.get(entry.name, ()), *entry.synonyms))
        }
        ordered = dict.fromkeys(
            normalised_prompt(text) for text in (*entry.prompts, *extra.get(entry.name, ()), *entry.synonyms)
        )
        tried = tuple(texts[normal] for normal in ordered)
        if len(tried) > MOST and len(tried) > len(entry.prompts):
            raise InputError(
                f"class {entry.name!r} has {len(tried)} prompts to try: expected at most {MOST}, leave some out"
            )
        options.append(tried)
    # Together they have to be an ontology: no prompt of two classes, no control characters.
    classes = (replace(entry, prompts=tried) for entry, tried in zip(ontology.classes, options, strict=True))
    Ontology(tuple(classes))
    return tuple(options)


def _given(ontology: Ontology, given: str) -> dict[str, tuple[str, ...]]:
    is_file = Path(given).is_file() or Path(given).suffix in (".yaml", ".yml", ".json")
    found = load_ontology(Path(given)) if is_file else parse_classes(given)
    return {ontology.names[ontology.index(entry.name)]: entry.prompts for entry in found.classes}
