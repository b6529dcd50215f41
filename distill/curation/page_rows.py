"""The rows of the report's tables, and the matrix of classes: findings in, plain values for the template out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from labeling.core.ontology import Ontology
from labeling.pictures import class_colour

from .doubts import Kind, Suspect

if TYPE_CHECKING:
    from ..balance import Balance, ClassBalance
    from .duplicates import Duplicates
    from .page_pictures import ShownPair

_MOST_GROUPS = 30
_MOST_NAMES = 4
_MOST_CLASSES = 16
_MOST_CAMERAS = 12
_CELL = 34
_LETTERS = 18
_LOOKS = {"none": "bad", "too few": "bad", "enough to start": "fair", "ready": "good"}


def kinds(first: Sequence[Suspect], names: Sequence[Kind]) -> list[dict[str, Any]]:
    """Return every kind of error with how many of the labels to look at first are doubted for it."""
    counts = Counter(one.kind for one in first)
    return [{"name": name, "slug": name.replace(" ", "-"), "count": counts[name]} for name in names]


def around(pairs: Sequence[ShownPair], threshold: float) -> dict[str, list[ShownPair]]:
    """Return pairs on either side of the threshold, those nearest to it first."""
    near = sorted(pairs, key=lambda pair: abs(pair.similarity - threshold))
    return {
        "above": [pair for pair in near if pair.similarity >= threshold],
        "below": [pair for pair in near if pair.similarity < threshold],
    }


def groups(found: Duplicates, name_of: Callable[[str], str]) -> dict[str, Any]:
    """Return groups of images that belong together, the largest first, and files with the same bytes."""
    ordered = sorted(found.groups, key=lambda group: (group.kind, -len(group.members), group.members))
    said = {"near": "near duplicates", "sequence": "series"}
    return {
        "groups": [
            {
                "kind": said.get(group.kind, group.kind),
                "images": len(group.members),
                "keep": name_of(group.members[0]),
                "others": _some([name_of(sha256) for sha256 in group.members[1 : _MOST_NAMES + 1]], group.members[1:]),
            }
            for group in ordered[:_MOST_GROUPS]
        ],
        "groups_more": max(len(ordered) - _MOST_GROUPS, 0),
        "copies": [
            {"first": paths[0], "others": _some(paths[1 : _MOST_NAMES + 1], paths[1:])}
            for paths in list(found.copies.values())[:_MOST_GROUPS]
            if paths
        ],
        "copies_count": len(found.copies),
    }


def _some(names: Sequence[str], of: Sequence[object]) -> str:
    more = len(of) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more > 0 else "")


def classes(found: Balance, ontology: Ontology) -> list[dict[str, Any]]:
    """Return one row per class: counts, how far the goal is reached, sizes, and what is missing."""
    colours = {name: class_colour(row) for row, name in enumerate(ontology.names)}
    return [_class(one, colours.get(one.name, class_colour(-1))) for one in found.classes]


def _class(one: ClassBalance, colour: str) -> dict[str, Any]:
    goal = one.images + one.wanted_images
    boxes = max(one.boxes, 1)
    small, medium = 100 * one.small / boxes, 100 * one.medium / boxes
    return {
        "name": one.name,
        "colour": colour,
        "images": one.images,
        "boxes": one.boxes,
        "reviewed": one.reviewed_images,
        "share": 100 * one.images / goal if one.images else 0.0,
        "verdict": one.verdict,
        "look": _LOOKS[one.verdict],
        "wanted": f"{one.wanted_images:,}" if one.wanted_images else "",
        "sizes": {"small": small, "medium": medium, "large": 100 * one.large / boxes} if one.boxes else None,
        "sizes_said": f"{one.small:,} small, {one.medium:,} medium, {one.large:,} large",
        "border": f"{one.touching_border / boxes:.0%}" if one.boxes else "",
        "oversample": f"{one.oversample:.2g} ×" if one.boxes else "",
    }


def matrix(found: Balance, ontology: Ontology) -> dict[str, Any] | None:
    """Return which classes are seen together, the commonest ones; None with fewer than two that were seen.

    A cell is the share of the images with the class of the row that also hold the class of the column.
    """
    together = np.asarray(found.together)
    seen = [row for row, one in enumerate(found.classes) if one.images]
    picked = sorted(sorted(seen, key=lambda row: -found.classes[row].images)[:_MOST_CLASSES])
    if len(picked) < 2:
        return None
    ids = {name: row for row, name in enumerate(ontology.names)}
    names = [found.classes[row].name for row in picked]
    cells = []
    for down, row in enumerate(picked):
        for across, column in enumerate(picked):
            if row != column and together[row, column]:
                share = float(together[row, column]) / found.classes[row].images
                said = f"{share:.0%} of the images with {names[down]} hold {names[across]} too"
                place = {"x": across * _CELL, "y": down * _CELL, "share": round(share, 3)}
                cells.append({**place, "percent": f"{100 * share:.0f}", "title": said, "strong": share > 0.55})
    letters = max(len(_short(name)) for name in names)
    return {
        "names": [
            {"text": _short(name), "full": name, "colour": class_colour(ids.get(name, -1)), "at": at * _CELL}
            for at, name in enumerate(names)
        ],
        "cells": cells,
        "cell": _CELL,
        "size": len(picked) * _CELL,
        "left": 36 + 7 * letters,
        "head": 24 + 5 * letters,
        "left_out": len(seen) - len(picked),
    }


def slices(found: Balance) -> list[dict[str, Any]]:
    """Return how many images are dark, bright, blurred and so on, as a share of all."""
    return [
        {"name": one.name, "rule": one.rule, "count": one.images, "share": 100 * one.images / max(found.images, 1)}
        for one in found.slices
    ]


def lights(found: Balance) -> dict[str, npt.NDArray[np.bool_]]:
    """Return which of the images are dark and which bright: so many from either end."""
    count = {one.name: one.images for one in found.slices}
    rank = np.asarray(found.brightness).argsort(kind="stable").argsort(kind="stable")
    return {"dark": rank < count.get("dark", 0), "bright": rank >= len(rank) - count.get("bright", 0)}


def cameras(found: Balance) -> list[dict[str, Any]]:
    """Return the cameras that took most images, with their share of the images whose camera is known."""
    known = max(found.cameras.total(), 1)
    return [
        {"name": name, "rule": "", "count": count, "share": 100 * count / known}
        for name, count in found.cameras.most_common(_MOST_CAMERAS)
    ]


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…"
