"""The verdict in words: one sentence per class, the work that is left, what it costs, and what would change it."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from .costs import SOURCES, Costs, Prices
from .verdicts import Bounds, Feasibility, Judged, Verdict, Wanted

SHORT: dict[Verdict, str] = {
    "ship": "ship the prompt as it is",
    "correct": "pre-label and correct",
    "train": "collect and train",
    "dont": "don't",
    "unknown": "no verdict",
}
COLUMNS = ("objects", "found", "false", "missed", "precision", "recall", "work left")
RULES = (
    "work left: time to correct the class, as a share of the time to draw it by hand; above 100 % the boxes cost more "
    "than they save",
    "a box that names the wrong class is false for that class, and work for the class that it belongs to",
)

_CLASS_ENOUGH = 30
_LISTED = 8

_PRICES = {
    "hour": "an hour of the people who label",
    "gpu_hour": "an hour of a GPU",
    "teacher_seconds": "seconds of the teacher for one image there",
    "api_image": "one image at a hosted service",
    "train_hours": "hours of training a student",
    "engineer_hours": "hours of an engineer to train, check and ship it",
    "engineer_hour": "an hour of that engineer",
    "student_image": "one image of a student of your own",
}


def sentence(one: Judged, wanted: Wanted) -> str:
    """Return the verdict of a class with its reason."""
    if one.verdict == "unknown":
        return "no verdict: nobody marked one in the reviewed images; review images that hold it"
    said = {
        "ship": (
            f"the prompt finds {_at_least(one.recall_interval)} of the objects and {_at_least(one.precision_interval)} "
            "of its boxes are right: nobody has to look"
        ),
        "correct": (f"correcting takes {_share(one.seconds, one.seconds_by_hand)} of the time of drawing by hand"),
        "train": (
            f"pre-labels save too little ({_share(one.seconds, one.seconds_by_hand)} of the time by hand is left), but "
            f"about {one.expected:,.0f} objects are there to teach a student: label some by hand, train, let the "
            "student label the rest"
        ),
        "dont": (
            f"the prompt does not help ({_share(one.seconds, one.seconds_by_hand)} of the time by hand is left) and "
            f"only about {one.expected:,.0f} objects are there, a student needs {wanted.objects}: collect photos that "
            "hold it, or leave the class out"
        ),
    }[one.verdict]
    return f"{SHORT[one.verdict]}: {said}{'' if one.firm else f'; {_doubt(one)}'}"


def _doubt(one: Judged) -> str:
    more = max(_CLASS_ENOUGH - one.objects, one.objects)
    images = ceil(more * one.reviewed / one.objects)
    return f"not firm: about {images:,} more reviewed images would hold {more:,} more of it and tell"


def headline(found: Feasibility) -> str:
    """Return the sentence to read first."""
    groups: dict[Verdict, list[str]] = {}
    for one in found.classes:
        groups.setdefault(one.verdict, []).append(one.name)
    parts = [f"{SHORT[verdict]}: {_listed(groups[verdict])}" for verdict in SHORT if verdict in groups]
    said = "; ".join(parts)
    return said[:1].upper() + said[1:]


def rows(found: Feasibility) -> list[tuple[str, tuple[str, ...]]]:
    """Return one row per class for a table with COLUMNS; work is seconds left of 100 by hand."""
    return [
        (
            one.name,
            (
                f"{one.objects:,}",
                f"{one.found:,}",
                f"{one.false:,}",
                f"{one.missed:,}",
                measure(one.precision, one.precision_interval),
                measure(one.recall, one.recall_interval),
                _share(one.seconds, one.seconds_by_hand),
            ),
        )
        for one in found.classes
    ]


def measure(value: float | None, bounds: Bounds | None) -> str:
    """Return a share with its interval."""
    if value is None or bounds is None:
        return "-"
    return f"{value:.2f} ({bounds[0]:.2f} to {bounds[1]:.2f})"


def work_lines(found: Feasibility, wanted: Wanted) -> list[str]:
    """Return what people would still have to do."""
    actions = ", ".join(f"{name} {count:.1f}" for name, count in found.actions.items())
    total, by_hand = (wanted.images * one / 3600 for one in (found.seconds_per_image, found.seconds_by_hand))
    each = found.seconds
    return [
        f"regions per image: {actions}",
        f"time per image: {found.seconds_per_image:.0f} s to correct, {found.seconds_by_hand:.0f} s by hand",
        f"for {wanted.images:,} images: {total:,.0f} hours to correct, {by_hand:,.0f} hours by hand",
        f"seconds per action: add {each.add:.1f}, delete {each.delete:.1f}, move {each.move:.1f}, relabel "
        f"{each.relabel:.1f}, look at an image {each.look:.1f} ({each.source})",
    ]


def cost_lines(costs: Costs) -> list[str]:
    """Return what each way costs, and from which volume a student pays."""
    unit = costs.prices.currency
    lines = [f"{way.name}: {money(way.cost, unit)}, {way.hours:,.0f} hours of people" for way in costs.ways]
    lines.append(
        f"a student of your own: {money(costs.student, unit)} once; {costs.student_images:,} images labelled for it, "
        "which hold enough of the rarest class"
    )
    for name, volume in (("a hosted service", costs.break_even), ("the teacher on a GPU", costs.break_even_teacher)):
        if volume is None:
            lines.append(f"a student is never cheaper than {name} at these prices")
        else:
            lines.append(f"a student is cheaper than {name} from about {_two_digits(volume):,} images on")
    return lines


def price_rows(prices: Prices) -> list[tuple[str, str, str]]:
    """Return (price, value, where it comes from); a value that is not the default was given."""
    default = Prices()
    return [
        (
            words,
            f"{getattr(prices, name):.8f}".rstrip("0").rstrip("."),
            SOURCES[name] if getattr(prices, name) == getattr(default, name) else "given",
        )
        for name, words in _PRICES.items()
    ]


def money(amount: float, currency: str) -> str:
    """Return an amount for people."""
    return f"{currency}{amount:,.0f}" if amount >= 100 else f"{currency}{amount:,.2f}"


def as_json(found: Feasibility, costs: Costs, wanted: Wanted, remarks: Sequence[str]) -> dict[str, Any]:
    """Return everything as JSON can hold it."""
    return {
        "headline": headline(found),
        "images": found.images,
        "classes": [
            {
                "name": one.name,
                "verdict": one.verdict,
                "firm": one.firm,
                "sentence": sentence(one, wanted),
                "objects": one.objects,
                "images": one.images,
                "found": one.found,
                "false": one.false,
                "missed": one.missed,
                "moved": one.moved,
                "precision": one.precision,
                "precision_interval": one.precision_interval,
                "recall": one.recall,
                "recall_interval": one.recall_interval,
                "seconds_per_image": one.seconds,
                "seconds_per_image_by_hand": one.seconds_by_hand,
                "ratio_interval": one.ratio_interval,
                "expected_objects": one.expected,
            }
            for one in found.classes
        ],
        "work": {
            "actions_per_image": found.actions,
            "seconds_per_image": found.seconds_per_image,
            "seconds_per_image_by_hand": found.seconds_by_hand,
            "seconds": {name: getattr(found.seconds, name) for name in found.seconds.__slots__},
        },
        "costs": {
            "ways": [{"name": way.name, "cost": way.cost, "hours": way.hours} for way in costs.ways],
            "student": costs.student,
            "student_images": costs.student_images,
            "per_image": dict(costs.per_image),
            "break_even_images": costs.break_even,
            "break_even_images_teacher": costs.break_even_teacher,
            "prices": {name: getattr(costs.prices, name) for name in costs.prices.__slots__},
        },
        "remarks": list(remarks),
    }


def _at_least(bounds: Bounds | None) -> str:
    return "an unknown share" if bounds is None else f"at least {100 * bounds[0]:.0f} %"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _LISTED else f"{len(names)} classes"


def _two_digits(number: int) -> int:
    return int(float(f"{number:.1e}"))
