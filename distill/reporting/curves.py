"""The curves of a student's report: what was measured, drawn and with its words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from labeling.pictures import class_colour
from labeling.report_words import counted

from . import plots as plots
from .advice import CurvePoint, trend
from .rows import named

if TYPE_CHECKING:
    from ..evaluate import Evaluation, OperatingPoint
    from ..evaluation.scores import Calibration

_COLOURED = 8


def curves(evaluation: Evaluation | None, point: OperatingPoint | None) -> Iterator[dict[str, Any]]:
    """Yield title, plot, legend and words of each curve; a plot is None where there is nothing to draw.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if evaluation is not None:
        yield _precision_recall(evaluation)
        yield _calibration(evaluation.calibration)
    if point is not None:
        said = (
            f"On val: a miss costs {point.cost_miss:g}, a false alarm {point.cost_false:g}. At the threshold it misses "
            f"{point.misses:,} of {counted(point.objects, 'object')} and gives "
            f"{counted(point.false_alarms, 'false alarm')}."
        )
        drawn = plots.costs(point.scores, point.costs, point.score)
        yield {"title": "What a threshold costs", "plot": drawn, "legend": [], "said": said}


def learning(points: Sequence[CurvePoint] | None, on: str) -> dict[str, Any] | None:
    """Return the learning curve and whether more data still helps; None where it was not measured.

    Args:
        points: in any order.
        on: the part that they were measured on.
    """
    if not points:
        return None
    ordered = sorted(points, key=lambda one: one.images)
    found, last = trend(ordered), ordered[-1]
    ahead = []
    if found.gain is not None:
        ahead = [(last.images, last.ap50), (2 * last.images, min(1.0, last.ap50 + found.gain))]
    drawn = plots.learning(
        [one.images for one in ordered],
        [one.ap50 for one in ordered],
        [one.low for one in ordered],
        [one.high for one in ordered],
        ahead,
    )
    return {"said": f"{found.said} Measured on {on}.", "plot": drawn}


def _precision_recall(evaluation: Evaluation) -> dict[str, Any]:
    known = [(k, one) for k, one in enumerate(evaluation.classes) if one.precision_curve is not None]
    weakest = sorted(known, key=lambda pair: pair[1].ap50 or 0.0)[:_COLOURED]
    coloured = {k for k, _one in weakest}
    lines = [
        plots.Line(np.linspace(0, 1, len(curve)), curve, class_colour(k) if k in coloured else None)
        for k, one in known
        if (curve := one.precision_curve) is not None
    ]
    values = "; ".join(f"{named(one.name)}: AP50 {one.ap50 or 0.0:.2f}" for _k, one in known)
    rest = len(known) - len(weakest)
    return {
        "title": "Precision and recall",
        "plot": plots.precision_recall(lines, f"Precision over recall. {values}."),
        "legend": [{"name": named(one.name), "colour": class_colour(k)} for k, one in weakest],
        "said": f"The {len(weakest)} weakest classes in colour, {rest:,} more in grey." if rest else "",
    }


def _calibration(found: Calibration) -> dict[str, Any]:
    bins = np.array([(one.score, one.precision, one.n) for one in found.bins if one.n], dtype=np.float64).reshape(-1, 3)
    gap = "" if found.error is None else f"On average the score is {found.error:.2f} off. "
    return {
        "title": "Is it as sure as it is right?",
        "plot": plots.calibration(bins[:, 0], bins[:, 1], bins[:, 2], f"{gap}Share of boxes that are right, by score."),
        "legend": [],
        "said": f"{gap}On the dashed line a score of 0.8 is right 8 times in 10; larger dots are more boxes.",
    }
