"""What was measured, in the form that the words of a student's report judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from labeling.core.matching import interval

from .words import Bounds, Measured, Rival

if TYPE_CHECKING:
    from ..compare import Comparison
    from ..evaluate import AtThreshold, Evaluation
    from ..evaluation.at_threshold import Answers, Part

TEACHER, PEOPLE, BASELINE = "teacher", "a second person", "most similar training photo"
"""The names under which they speak in a comparison; a student that does not beat BASELINE has learned nothing."""

WHO: Mapping[str, str] = {
    TEACHER: "the teacher it learned from",
    PEOPLE: "a second person, who looked at the same images",
    BASELINE: "the baseline, the labels of the most similar training photo",
}
"""How a sentence calls them; anybody else is called by the own name."""

_KINDS = {"size": "{} objects", "number of objects": "{} images"}


def measured(evaluation: Evaluation, at: AtThreshold) -> tuple[Measured, ...]:
    """Return every class of a part of the split, in the order of the names."""
    return tuple(_measured(answers, one.images) for one, answers in zip(evaluation.classes, at.classes, strict=True))


def overall(at: AtThreshold) -> Measured:
    """Return all classes together, every object counting the same."""
    return _measured(at.overall, at.images)


def confused(evaluation: Evaluation, at: AtThreshold) -> list[tuple[str, str, int]]:
    """Return what is there, what was said, and how often, the most frequent first; background plays no part."""
    names = [one.name for one in evaluation.classes]
    pairs = [
        (there, seen, int(at.confusion[row, column]))
        for row, there in enumerate(names)
        for column, seen in enumerate(names)
        if row != column and at.confusion[row, column]
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))


def kind_of(part: Part) -> str:
    """Return the name of a kind for a sentence, such as "dark photos"."""
    return _KINDS.get(part.about, "{} photos").format(part.name)


def rivals(comparison: Comparison | None, student: str = "student") -> list[Rival]:
    """Return how a student stands beside everybody else, by AP50, in the order of the comparison."""
    found = []
    for standing in comparison.standings if comparison is not None else ():
        ap50 = {row.speaker: row.ap50.value for row in standing.rows}
        found += [
            Rival(
                WHO.get(pair.second, pair.second),
                pair.images,
                ap50.get(student),
                ap50.get(pair.second),
                pair.interval,
                pair.verdict,
                pair.second == BASELINE,
            )
            for pair in standing.pairs
            if pair.metric == "ap50"
        ]
    return found


def _measured(one: Answers, images: int) -> Measured:
    said = one.right + one.false
    return Measured(
        one.name,
        images,
        one.objects,
        one.precision,
        one.recall,
        _careful(one.precision_interval, one.right, said),
        _careful(one.recall_interval, one.right, one.objects),
    )


def _careful(drawn: Bounds | None, right: int, of: int) -> Bounds | None:
    """Return the wider of two intervals: images drawn again make one of width 0 where nothing was wrong."""
    counted = interval(right, of)
    if counted is None or drawn is None:
        return counted
    return min(counted[0], drawn[0]), max(counted[1], drawn[1])
