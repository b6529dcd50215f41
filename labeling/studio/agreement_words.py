"""The words, rows and cells of an agreement, for the terminal, the report and programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from .agreement import Agreement, Disagreement, Gate, Group
from .kappa import Estimate, Measures

UNDEFINED = "undefined"
FEW_IMAGES = 20
"""With fewer images, intervals from resampling them are too narrow."""

CLASS_COLUMNS = ("alpha", "matched only", "Fleiss' kappa", "found", "IoU", "drawn")
PAIR_COLUMNS = ("Cohen's kappa", "matched only", "alpha", "found", "IoU", "images")
STATISTICS = {"alpha": 'Krippendorff\'s alpha with "no object"', "found": "the share found by both"}
RULES = (
    'a box that the other person has not drawn counts as "no object"; nobody says where nothing is, so that chance is',
    'rated too high and kappa and alpha with "no object" are harsh; "matched only" leaves such boxes out',
    "found: how often one person has what the other drew, under the same class; in brackets {confidence:.0%} intervals",
)

_SHOWN_INSTEAD = 3


def standing(found: Agreement) -> str:
    """Return how much there is to compare, in one line."""
    people = len(found.everyone.annotators)
    compared = f"{found.everyone.images:,} of {_number(found.images, 'image')} with an answer"
    return f"{people:,} people on {compared}, {_number(found.everyone.units, 'object')}"


def class_rows(found: Agreement) -> list[tuple[str, list[str]]]:
    """Return (class, cells) under CLASS_COLUMNS; all classes last."""
    named = [*found.everyone.classes.items(), ("all classes", found.everyone.overall)]
    drawn = [*found.drawn.values(), sum(found.drawn.values())]
    rows = []
    for (name, one), number in zip(named, drawn, strict=True):
        estimates = (one.alpha, one.alpha_matched, one.kappa, one.found)
        rows.append((name, [*map(cell, estimates), _value(one.iou), f"{number:,}"]))
    return rows


def pair_rows(found: Agreement) -> list[tuple[str, list[str]]]:
    """Return (two people, cells) under PAIR_COLUMNS."""
    rows = []
    for pair in found.pairs:
        one = pair.overall
        estimates = (one.kappa, one.kappa_matched, one.alpha, one.found)
        cells = [*map(cell, estimates), _value(one.iou), f"{pair.images:,}"]
        rows.append((" and ".join(pair.annotators), cells))
    return rows


def rules(found: Agreement) -> list[str]:
    """Return how to read the tables."""
    said = [rule.format(confidence=found.confidence) for rule in RULES]
    if found.everyone.images < FEW_IMAGES:
        said.append(f"fewer than {FEW_IMAGES} images were compared: the intervals are too narrow, or absent")
    return said


def undefined(found: Agreement) -> list[str]:
    """Return why there is no number where there is none, each reason once, with whom and what it is about."""
    where: dict[str, list[str]] = {}
    named = [*found.everyone.classes.items(), ("all classes", found.everyone.overall)]
    named += [(" and ".join(pair.annotators), pair.overall) for pair in found.pairs]
    for name, measures in named:
        for estimate in _estimates(measures).values():
            names = where.setdefault(estimate.reason, [])
            if estimate.value is None and name not in names:
                names.append(name)
    return [f"{UNDEFINED} for {', '.join(names)}: {reason}" for reason, names in where.items() if names]


def unclear(found: Agreement, threshold: float) -> list[str]:
    """Return the classes whose alpha is below the threshold, the worst first, and what was said instead."""
    alphas = [(one.alpha.value, name) for name, one in found.everyone.classes.items() if one.alpha.value is not None]
    lines = []
    for value, name in sorted(alphas):
        if value < threshold:
            instead = ", ".join(f"{other or 'nothing'} {n:,}×" for other, n in _instead(found.everyone, name))
            lines.append(f"{name} (alpha {_short(value, threshold)}): the other said {instead}")
    return lines


def gate_line(gate: Gate) -> str:
    """Return whether people agree well enough, and by which number."""
    name, value = STATISTICS[gate.statistic], gate.estimate.value
    if value is None:
        return f"gate not judged: {gate.estimate.reason}"
    passed = "passed" if gate.passed else "failed"
    line = f"gate {passed}: {name} is {_short(value, gate.threshold)}, {gate.threshold:g} was asked for"
    if gate.statistic == "found":
        line += " (with one class alone, kappa and alpha say nothing)"
    low, high = gate.estimate.low, gate.estimate.high
    if low is not None and high is not None and low < gate.threshold <= high:
        line += "; the interval holds both outcomes, more shared images would tell"
    return line


def disagreement_line(one: Disagreement) -> str:
    """Say what one disagreement is about, without its image."""
    return ", ".join(f"{person}: {name or 'nothing'}" for person, name in one.said.items())


def cell(estimate: Estimate) -> str:
    """Return a value with its interval."""
    if estimate.low is None or estimate.high is None:
        return _value(estimate)
    return f"{_value(estimate)} ({estimate.low:z.2f} to {estimate.high:z.2f})"


def as_json(found: Agreement, gate: Gate, left_out: Mapping[str, int], name_of: Callable[[str], str]) -> dict[str, Any]:
    """Return everything as plain values; "no object" is null.

    Args:
        found: what was compared.
        gate: what it comes to.
        left_out: reason -> number.
        name_of: sha256 -> name of the image.
    """
    return {
        "images": found.images,
        "images_compared": found.everyone.images,
        "min_iou": found.min_iou,
        "confidence": found.confidence,
        "drawn": dict(found.drawn),
        "everyone": _group(found.everyone, "fleiss_kappa"),
        "pairs": [_group(pair, "cohen_kappa") for pair in found.pairs],
        "disagreements": [_disagreement(one, name_of) for one in found.disagreements],
        "left_out": dict(left_out),
        "gate": asdict(gate),
    }


def _disagreement(one: Disagreement, name_of: Callable[[str], str]) -> dict[str, Any]:
    about = {"kind": one.kind, "said": dict(one.said), "boxes": dict(one.boxes), "share": one.share}
    return {"image": name_of(one.image), "sha256": one.image, **about}


def _group(group: Group, kappa: str) -> dict[str, Any]:
    def named(measures: Measures) -> dict[str, Any]:
        return {
            {"kappa": kappa, "kappa_matched": f"{kappa}_matched"}.get(name, name): asdict(estimate)
            for name, estimate in _estimates(measures).items()
        }

    return {
        "annotators": list(group.annotators),
        "images": group.images,
        "objects": group.units,
        "overall": named(group.overall),
        "classes": {name: named(measures) for name, measures in group.classes.items()},
        "table": [{"first": first, "second": second, "n": n} for (first, second), n in group.table.items()],
    }


def _value(estimate: Estimate) -> str:
    return UNDEFINED if estimate.value is None else f"{estimate.value:z.2f}"


def _estimates(measures: Measures) -> dict[str, Estimate]:
    names = ("kappa", "kappa_matched", "alpha", "alpha_matched", "found", "iou")
    return {name: getattr(measures, name) for name in names}


def _instead(group: Group, name: str) -> list[tuple[str | None, int]]:
    """Return what one of two people said most often where the other said this class."""
    others = Counter[str | None]()
    for (first, second), n in group.table.items():
        if first != second and name in (first, second):
            others[second if first == name else first] += n
    return others.most_common(_SHOWN_INSTEAD)


def _short(value: float, threshold: float) -> str:
    """Return two digits, or as many as it takes to stand on the right side of the threshold."""
    digits = next((d for d in range(2, 6) if (round(value, d) < threshold) == (value < threshold)), 6)
    return f"{value:z.{digits}f}"


def _number(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
