"""Whether INT8 may be used: what it costs in accuracy on val, overall and for each class, and the word on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from distill.evaluate import Evaluation
from distill.evaluation.resampling import Bounds
from labeling.core.errors import InputError

MAX_AP = 0.01
MAX_CLASS = 0.03
ENOUGH = 200
"""Objects from which on a measurement is enough to make INT8 the default: on 57, AP moves by more than its limit with
the choice of photos."""


@dataclass(frozen=True, slots=True)
class ClassChange:
    """One class in both precisions.

    Attributes:
        name: of the class.
        objects: that are there.
        fp32, int8: AP50-95 in [0, 1]; None where nothing of the class is there.
        lost: how much INT8 is worse, below 0 where it is better; None likewise.
        judged: there are enough objects for its limit to mean anything.
    """

    name: str
    objects: int
    fp32: float | None
    int8: float | None
    lost: float | None
    judged: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What INT8 costs and whether that is within the limits.

    Attributes:
        images: that both were measured on.
        fp32, int8: AP50-95 in [0, 1] as a mean over the classes; None where it could not be measured.
        fp32_ap50, int8_ap50: AP50 likewise.
        lost: how much INT8 is worse.
        classes: in the order of the names.
        max_ap, max_class: limits.
        fewest: objects from which on a class is judged alone.
        faults: what is beyond the limits, a clause each; empty when it passed.
        objects: that are there.
        interval: of ``lost``, 95 %, both measured on the same drawn images; None where it is not known.
    """

    images: int
    fp32: float | None
    int8: float | None
    fp32_ap50: float | None
    int8_ap50: float | None
    lost: float | None
    classes: tuple[ClassChange, ...]
    max_ap: float
    max_class: float
    fewest: int
    faults: tuple[str, ...]
    objects: int
    interval: Bounds | None = None

    @property
    def passed(self) -> bool:
        """Say whether INT8 may be used."""
        return not self.faults

    @property
    def enough(self) -> bool:
        """Say whether it rests on so many objects that INT8 may be the default."""
        return self.objects >= ENOUGH

    @property
    def precision(self) -> Literal["fp16", "int8"]:
        """The precision that an engine is built in unless the user asks for another: INT8 where it passed on enough."""
        return "int8" if self.passed and self.enough else "fp16"

    @property
    def sentence(self) -> str:
        """What to tell people."""
        if self.lost is None:
            return f"INT8 was not measured ({'; '.join(self.faults)}): FP16 stays the default"
        cost = f"INT8 {_change(self.lost)} AP50-95{_spread(self.lost, self.interval)} on {self.images:,} val images"
        if not self.passed:
            return f"{cost}, refused: {'; '.join(self.faults)}: FP16 stays the default"
        alone = [one.name for one in self.classes if not one.judged]
        few = f"; not judged alone, with fewer than {self.fewest:,} objects: {', '.join(alone)}" if alone else ""
        if not self.enough:
            return (
                f"{cost}, within the limits{few}; FP16 stays the default: val holds {self.objects:,} objects, "
                f"{ENOUGH:,} are needed to trust INT8 without a look"
            )
        return f"{cost}, within the limits{few}; INT8 is the default"


def gate(
    fp32: Evaluation,
    int8: Evaluation,
    names: Sequence[str],
    max_ap: float = MAX_AP,
    max_class: float = MAX_CLASS,
    *,
    interval: Bounds | None = None,
) -> Verdict:
    """Compare two measurements of the same images.

    A class is judged alone when one object more or less changes its AP by less than its limit: when it has at least
    1 / max_class objects. The mean over all classes is always judged.

    Args:
        fp32: of the model that was exported.
        int8: of the quantised one.
        names: the classes, in the order of both.
        max_ap: most AP50-95 that may be lost over all classes, above 0 and up to 1.
        max_class: most that any class may lose, likewise.
        interval: of the AP50-95 that is lost, see ``distill.evaluation.paired``.

    Raises:
        InputError: the two do not speak of the same images or classes, or a limit is out of range.
    """
    for what, limit in (("over all classes", max_ap), ("of one class", max_class)):
        if not 0 < limit <= 1:
            raise InputError(f"the most AP to lose {what} is {limit}: expected a share above 0 and up to 1, as 0.01")
    asked = [(one.images, one.objects, [each.name for each in one.classes]) for one in (fp32, int8)]
    if asked[0] != asked[1] or asked[0][2] != list(names):
        raise InputError("FP32 and INT8 were measured on different images or classes: measure both on the same ones")
    fewest = ceil(1 / max_class - 1e-9)
    classes = tuple(
        ClassChange(
            one.name,
            one.objects,
            one.ap50_95,
            other.ap50_95,
            _lost(one.ap50_95, other.ap50_95),
            one.objects >= fewest,
        )
        for one, other in zip(fp32.classes, int8.classes, strict=True)
    )
    lost = _lost(fp32.ap50_95, int8.ap50_95)
    faults = []
    if lost is None:
        faults.append("no object is known on the images that were looked at")
    elif lost > max_ap:
        faults.append(f"{_points(lost)} points lost over all classes, at most {_points(max_ap)} are allowed")
    faults += [
        f"{_points(one.lost)} points lost on {one.name}, at most {_points(max_class)} are allowed"
        for one in classes
        if one.judged and one.lost is not None and one.lost > max_class
    ]
    return Verdict(
        fp32.images, fp32.ap50_95, int8.ap50_95, fp32.ap50, int8.ap50, lost, classes, max_ap, max_class, fewest,
        tuple(faults), fp32.objects, interval,
    )  # fmt: skip


def _lost(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after


def _change(lost: float) -> str:
    return f"costs {_points(lost)} points of" if lost > 0 else f"adds {_points(-lost)} points of"


def _spread(lost: float, interval: Bounds | None) -> str:
    """Return the interval, turned like the words of ``_change``."""
    if interval is None:
        return ""
    low, high = interval if lost > 0 else (-interval[1], -interval[0])
    return f" ({_points(low)} to {_points(high)})"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
