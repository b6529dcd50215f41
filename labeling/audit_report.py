"""The section of the report on what people changed: rows, and pictures of the worst disagreements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .core.errors import MissingExtraError
from .core.ontology import Ontology
from .core.records import Annotation, Provenance
from .core.store import Store
from .images import LoadedImage
from .pictures import Shown, class_colour, picture, window_around
from .studio import agreement_words
from .studio import audit_words as words
from .studio.agreement import agreement
from .studio.agreement_read import people_saw
from .studio.audit_read import audit_of
from .studio.audit_worst import Disagreement
from .studio.pulled import shown_name

Photo = Callable[[str, str], LoadedImage | None]
"""Decodes the image of a sha256, known to people under a name; None where no file holds it any more."""

WORST = 24


def audit_section(store: Store, ontology: Ontology, photo: Photo) -> dict[str, Any] | None:
    """Return the values of the section; None while nobody has said anything.

    Args:
        store: of the project.
        ontology: of the project.
        photo: decodes one image.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    found = audit_of(store, ontology, worst=WORST)
    if not found.people:
        return None
    class_ids = {name: i for i, name in enumerate(ontology.names)}
    groups = [
        {
            "title": _sentence(title),
            "columns": [_sentence(column) for column in (words.TEACHER_COLUMNS if seen else words.BLIND_COLUMNS)],
            "rows": _rows(words.class_rows(group, seen), class_ids),
            "confusion": group.confusion if seen else (),
        }
        for title, group, seen in words.groups(found)
    ]
    remarks, agreed = words.remarks(found), None
    try:
        agreed = _agreement(store, ontology, class_ids)
    except MissingExtraError as error:
        remarks.append(f"How far people agree is not measured: {error}")
    return {
        "standing": words.standing(found),
        "remarks": remarks,
        "agreement": agreed,
        "groups": groups,
        "rules": [f"{_sentence(rule)}." for rule in words.RULES] if groups else [],
        "work": [(_sentence(row[0]), *row[1:]) for row in words.work_rows(found)],
        "medians": f"{_sentence(words.MEDIANS)}.",
        "people_columns": [_sentence(column) for column in words.PEOPLE_COLUMNS],
        "people": [(person.annotator, words.person_cells(person)) for person in found.people],
        "worst": list(_worst(store, found.worst, class_ids, photo)),
    }


def _agreement(store: Store, ontology: Ontology, class_ids: Mapping[str, int]) -> dict[str, Any] | None:
    """Return how far people agree; None while no two of them have looked at one image."""
    seen, _ = people_saw(store, ontology.class_of)
    if not any(len(one.objects) > 1 for one in seen):
        return None
    found = agreement(seen)
    return {
        "standing": agreement_words.standing(found),
        "columns": [_sentence(column) for column in agreement_words.CLASS_COLUMNS],
        "rows": _rows(agreement_words.class_rows(found), class_ids),
        "rules": [f"{_sentence(rule)}." for rule in agreement_words.rules(found)],
    }


def _rows(named: Sequence[tuple[str, Sequence[str]]], class_ids: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {"name": name, "cells": cells, "colour": class_colour(class_ids[name]) if name in class_ids else ""}
        for name, cells in named
    ]


def _worst(store: Store, found: Sequence[Disagreement], class_ids: Mapping[str, int], photo: Photo) -> Iterator[Shown]:
    for one in found:
        path = shown_name(store, one.sha256)
        loaded = photo(one.sha256, path)
        if loaded is None:
            continue
        said, left = one.change.pushed, _left(one)
        both = [annotation for annotation in (said, left) if annotation is not None]
        height, width = loaded.pixels.shape[:2]
        window = window_around(_around([annotation.box_xyxy for annotation in both]), (width, height))
        name, text = path.rsplit("/", 1)[-1], words.worst_line(one)
        dashed = {said.id} if said is not None else set()
        yield Shown(
            picture(loaded.pixels, both, class_ids, window, dashed), name, words.worst_caption(one), f"{name}: {text}"
        )


def _left(one: Disagreement) -> Annotation | None:
    """Return what people left as something that can be drawn."""
    drawn = one.change.drawn
    if drawn is None:
        return None
    return Annotation(
        f"{drawn.region_id}-left", one.sha256, drawn.class_name, drawn.box_xyxy, Provenance("human"), drawn.rle
    )


def _around(boxes: Sequence[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
