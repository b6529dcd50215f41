"""What a calibration found, in words, in rows of a table, and for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .calibrate import Outcome
from .calibration import Calibration, Difference
from .calibration_claims import Aim, Numbers

COLUMNS = ("objects", "threshold", "new", "missed", "new", "false", "new")
RULES = (
    "today: what labelstill label would use now, the prompts and thresholds of project.yaml with this detector",
    "held out: counted on images that took no part in choosing the settings they were counted under",
    "threshold: the smallest score kept; missed, false: at today's settings and, new, at calibrated ones",
)


def headline(found: Calibration, aim: Aim) -> str:
    """Return whether calibrating is worth it, and today and calibrated, in one sentence."""
    answer = "No gain shown"
    if found.gain_shown:
        answer = "Yes, but below the wanted precision" if shortfall(found, aim) else "Yes"
    return f"{answer}: {standing(found.counts_today, 'today')}; {standing(found.counts_calibrated, 'calibrated')}"


def standing(counts: Numbers, when: str) -> str:
    """Return how many objects are missed and how many claims are false, as people say it."""
    hits, false, objects = (int(number) for number in counts.sum(axis=0))
    return f"{when} {objects - hits} of {objects} objects missed, {false} false alarm{'' if false == 1 else 's'}"


def shortfall(found: Calibration, aim: Aim) -> str | None:
    """Return that the wanted precision is not reached on images that did not choose; None where it is."""
    if aim.precision is None:
        return None
    hits, false, _ = found.counts_calibrated.sum(axis=0)
    if not hits + false:
        return f"held out, no box is left: a precision of {aim.precision:g} is not reached"
    reached = hits / (hits + false)
    if reached >= aim.precision:
        return None
    return f"held out, precision is {reached:.3f}, below the {aim.precision:g} that was wanted"


def verdict(found: Calibration, aim: Aim) -> str:
    """Return whether calibrating is worth it, with the interval."""
    if found.chosen == found.today:
        return "the settings in force are the best that was found: nothing to apply"
    what = "cost"
    if aim.precision is not None:
        what = f"missed objects, and more for precision below {aim.precision:g}:"
    one = found.loss
    spread = _spread(f"{one.calibrated - one.today:+.4g}", f"{one.low:+.4g}", f"{one.high:+.4g}")
    answer = "a gain" if found.gain_shown else "no gain shown, nothing to apply"
    return f"{answer}: {what} {one.today:.4g} → {one.calibrated:.4g} {spread}"


def difference(name: str, one: Difference) -> str:
    """Return a figure before and after, and the interval of the difference."""
    if math.isnan(one.today) or math.isnan(one.calibrated):
        return f"{name} not measured"
    if one.today == one.calibrated and one.low == one.high == 0:
        return f"{name} {one.today:.3f}, unchanged"
    spread = _spread(f"{one.calibrated - one.today:+.3f}", f"{one.low:+.3f}", f"{one.high:+.3f}")
    return f"{name} {one.today:.3f} → {one.calibrated:.3f} {spread}"


def _spread(difference: str, low: str, high: str) -> str:
    return f"(difference {difference}, 95 % from {low} to {high})"


def figures(found: Calibration) -> list[tuple[str, bool]]:
    """Return F1 and AP50 in words, each with whether it got worse."""
    named = (("F1", found.f1), ("AP50", found.ap50))
    return [(difference(name, one), one.calibrated < one.today) for name, one in named]


def tried(outcome: Outcome, names: Sequence[str]) -> list[str]:
    """Return per class which further prompts were tried and what became of them."""
    found, lines = outcome.found, []
    for number, options in enumerate(outcome.options):
        more = [text for text in options if text not in found.today.prompts[number]]
        won = [text for text in found.chosen.prompts[number] if text in more]
        end = "none better"
        if won:
            end = f"{'taken' if found.gain_shown else 'looked better, but no gain is shown'}: {', '.join(won)}"
        if number in found.unseen:
            end = "not judged, the gold set has no object of it"
        if more:
            lines.append(f"{names[number]}: {', '.join(more)}; {end}")
    return lines


def rows(found: Calibration, names: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Return a row per class of which the gold set has objects."""
    cells: list[tuple[str, tuple[str, ...]]] = []
    for number, name in enumerate(names):
        (hits, false, objects), (new_hits, new_false, _) = found.counts_today[number], found.counts_calibrated[number]
        if objects:
            cells.append(
                (
                    name,
                    (
                        f"{objects:.0f}",
                        f"{found.today.thresholds[number]:.2f}",
                        f"{found.chosen.thresholds[number]:.2f}",
                        f"{objects - hits:.0f}",
                        f"{objects - new_hits:.0f}",
                        f"{false:.0f}",
                        f"{new_false:.0f}",
                    ),
                )
            )
    return cells


def changes(found: Calibration, names: Sequence[str]) -> list[str]:
    """Return what besides thresholds would change."""
    now, new = found.today, found.chosen
    lines = [
        f"{name}: prompts {' | '.join(before)} → {' | '.join(after)}"
        for name, before, after in zip(names, now.prompts, new.prompts, strict=True)
        if before != after
    ]
    if now.nms_iou != new.nms_iou:
        lines.append(f"nms_iou {now.nms_iou:g} → {new.nms_iou:g}")
    if now.prompts_per_pass != new.prompts_per_pass:
        before, after = (one or "as many as fit" for one in (now.prompts_per_pass, new.prompts_per_pass))
        lines.append(f"prompts per pass {before} → {after}")
    return lines


def remarks(outcome: Outcome, names: Sequence[str]) -> list[str]:
    """Return what people should know about how far this can be trusted."""
    found, gold = outcome.found, outcome.gold
    said = [remark for remark in (outcome.note, gold.remark) if remark]
    if gold.waiting:
        said.append(f"{gold.waiting} gold images still wait for people: the figures get surer with them")
    if found.unseen:
        listed = ", ".join(names[number] for number in found.unseen)
        said.append(f"no gold object of {listed}: kept as they are, not measured")
    if found.few:
        listed = ", ".join(names[number] for number in found.few)
        said.append(f"fewer than 10 gold objects of {listed}: their thresholds lean mostly on the common one")
    if outcome.failed:
        reasons = sorted(set(outcome.failed.values()))[:3]
        said.append(f"{len(outcome.failed)} gold images could not be used: {'; '.join(reasons)}")
    return said


def as_dict(outcome: Outcome, names: Sequence[str], aim: Aim) -> dict[str, Any]:
    """Return everything for programs; what was not measured is null."""
    found = outcome.found
    short = shortfall(found, aim)

    def one(of: Difference) -> dict[str, float | None]:
        values = {"today": of.today, "calibrated": of.calibrated, "low": of.low, "high": of.high}
        return {key: None if math.isnan(value) else value for key, value in values.items()}

    return {
        "images": found.images,
        "kind": outcome.gold.kind,
        "waiting": outcome.gold.waiting,
        "unusable": len(outcome.failed),
        "passes": found.passes,
        "gain_shown": found.gain_shown,
        "loss": one(found.loss),
        "f1": one(found.f1),
        "ap50": one(found.ap50),
        "classes": [
            {
                "name": name,
                "objects": int(found.counts_today[number, 2]),
                "threshold": {"today": found.today.thresholds[number], "new": found.chosen.thresholds[number]},
                "prompts": {"today": list(found.today.prompts[number]), "new": list(found.chosen.prompts[number])},
                "today": _counts(found.counts_today[number]),
                "calibrated": _counts(found.counts_calibrated[number]),
            }
            for number, name in enumerate(names)
        ],
        "nms_iou": {"today": found.today.nms_iou, "new": found.chosen.nms_iou},
        "prompts_per_pass": {"today": found.today.prompts_per_pass, "new": found.chosen.prompts_per_pass},
        "tried": tried(outcome, names),
        "remarks": [*([short] if short else []), *remarks(outcome, names)],
    }


def _counts(counts: Numbers) -> dict[str, int]:
    return {"missed": int(counts[2] - counts[0]), "false": int(counts[1])}
