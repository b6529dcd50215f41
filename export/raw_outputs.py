"""How far the numbers of two networks lie apart on the same input, also where neither sees an object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .runtime import Canvas, Floats, Model

FAINT = 1e-4
"""A difference of scores is counted in shares of the score, or of this where the score is smaller."""

GRAPH_FLOOR = 0.001
"""Smallest score that NMS in a graph lets through: that of evaluation."""

_MOST = 0.97
"""Of the places. One of 21 belongs to the coarsest head, so a broken one is beyond it."""

_NEARLY_ALL = 0.98
"""Of places that are looked for: at a near tie one is taken here and another one there."""

_PARTS = {
    "score": "scores differ by up to {0:.4f} of their size, expected at most {1}",
    "box": "boxes differ by up to {0:.3f} pixels, expected at most {1}",
    "mask": "masks differ by up to {0:.4f} of their largest number, expected at most {1}",
}


@dataclass(frozen=True, slots=True)
class RawLimits:
    """How far raw outputs may differ.

    Attributes:
        everywhere: at every place of every image; otherwise at 97 % of the places of the median image.
        score: in shares of the score, see FAINT.
        box: in pixels of the canvas.
        mask: of coefficients and prototypes, in shares of the largest of them.
    """

    everywhere: bool
    score: float
    box: float
    mask: float


@dataclass(frozen=True, slots=True)
class Apart:
    """One output of one image, in the units of RawLimits.

    Attributes:
        frame: its image.
        part: score, box or mask.
        most: difference that 97 % of the places do not exceed.
        largest: of all places.
        broken: places where one of the two is no number, or that it does not have.
    """

    frame: str
    part: str
    most: float
    largest: float
    broken: int


class _Places(NamedTuple):
    scores: Floats  # (n, classes)
    boxes: Floats  # (n, 4) pixels of the canvas, or of the frame where NMS is in a graph


def apart(
    frame: str, models: tuple[Model, Model], outputs: tuple[Sequence[Floats], Sequence[Floats]], canvas: Canvas
) -> list[Apart]:
    """Compare what two networks say of one input.

    The places of the layout yolo are compared one by one. Queries come in an order that a near tie changes, and NMS
    chooses among boxes: each is compared with the most alike one of the other network, after NMS down to GRAPH_FLOOR.

    Args:
        frame: name of the image.
        models: the reference and the other one.
        outputs: of both, in the order of their graphs.
        canvas: the input.
    """
    layouts = {model.card.layout for model in models}
    if "nms" in layouts:
        finite = [all(bool(np.isfinite(one).all()) for one in said) for said in outputs]
        if finite[0] != finite[1]:
            return [Apart(frame, "score", 0, 0, 1)]
        one, two = (_chosen(model, said, canvas) for model, said in zip(models, outputs, strict=True))
        return _alike(frame, one, two, 2 * GRAPH_FLOOR)
    if "queries" in layouts:
        high, wide = canvas.tensor.shape[2:]
        sides = np.array([wide, high, wide, high], dtype=np.float32)
        one, two = (_Places(said[0][0], said[1][0] * sides) for said in outputs)
        return _alike(frame, one, two)
    end = 4 + len(models[0].card.names)
    (first, *protos), (second, *others) = outputs
    if first.shape != second.shape:
        return [Apart(frame, "score", 0, 0, max(first.shape[-1], second.shape[-1]))]
    scores = first[0, 4:end], second[0, 4:end]
    found = [
        _summed(frame, "score", _score(*scores), _broken(*scores)),
        _summed(frame, "box", np.abs(first[0, :4] - second[0, :4]), _broken(first[0, :4], second[0, :4])),
    ]
    for ours, theirs in ((first[0, end:], second[0, end:]), *zip(protos, others, strict=True)):
        if ours.size:
            far = np.abs(ours - theirs) / max(float(np.nanmax(np.abs(ours))), 1e-6)
            found.append(_summed(frame, "mask", far, _broken(ours, theirs)))
    return found


def beyond(found: Sequence[Apart], limits: RawLimits) -> Iterator[str]:
    """Yield a sentence on each output that is beyond its limit, with the name of that image."""
    for part, words in _PARTS.items():
        ours = [one for one in found if one.part == part]
        if lost := max(ours, key=lambda one: one.broken, default=None):
            if lost.broken:
                yield f"the raw {part} outputs of {lost.frame} are no numbers, or missing, at {lost.broken} places"
            limit = getattr(limits, part)
            far = {one.frame: one.largest if limits.everywhere else one.most for one in ours}
            rising = sorted(far, key=far.__getitem__)
            worst = rising[-1 if limits.everywhere else len(rising) // 2]
            if far[worst] > limit:
                yield f"raw {words.format(far[worst], limit)} (in {worst})"


def _chosen(model: Model, said: Sequence[Floats], canvas: Canvas) -> _Places:
    found = model.decode(said, canvas, GRAPH_FLOOR)
    scores = np.zeros((len(found.scores), len(model.card.names)), dtype=np.float32)
    scores[np.arange(len(scores)), found.class_ids] = found.scores
    return _Places(scores, found.boxes_xyxy)


def _alike(frame: str, one: _Places, two: _Places, least: float = 0.0) -> list[Apart]:
    """Compare each place of both sides that has so high a score with the most alike one of the other side."""
    broken = _broken(one.scores, two.scores) if one.scores.shape == two.scores.shape else 0
    scores: list[Floats] = []
    boxes: list[Floats] = []
    lost = 0
    for ours, theirs in ((one, two), (two, one)):
        rows = ours.scores.max(axis=1, initial=0) >= least
        if not len(theirs.scores):
            lost += int(rows.sum())
            continue
        far = _score(ours.scores[rows][:, None], theirs.scores[None]).max(axis=2, initial=0)
        away = np.abs(ours.boxes[rows][:, None] - theirs.boxes[None]).max(axis=2, initial=0)
        nearest = np.nan_to_num(far + away, nan=np.inf).argmin(axis=1)
        every = np.arange(len(nearest))
        scores.append(far[every, nearest])
        boxes.append(away[every, nearest])
    parts = [("score", scores, broken + lost), ("box", boxes, 0)]
    return [
        _summed(frame, part, np.concatenate(values or [np.zeros(0, np.float32)]), gone, _NEARLY_ALL)
        for part, values, gone in parts
    ]


def _score(ours: Floats, theirs: Floats) -> Floats:
    far: Floats = np.abs(ours - theirs) / np.maximum(np.maximum(np.abs(ours), np.abs(theirs)), FAINT)
    return far


def _broken(ours: Floats, theirs: Floats) -> int:
    return int((np.isfinite(ours) != np.isfinite(theirs)).sum())


def _summed(frame: str, part: str, values: npt.NDArray[np.float32], broken: int, whole: float = 1.0) -> Apart:
    """Return the statistics of (values, places) or (values, rows, columns); rows of one place count once."""
    places = values.max(axis=0).ravel() if values.ndim > 1 else values
    places = places[np.isfinite(places)]
    if not places.size:
        return Apart(frame, part, 0.0, 0.0, broken)
    most, largest = np.quantile(places, (_MOST, whole), method="higher")
    return Apart(frame, part, float(most), float(largest), broken)
