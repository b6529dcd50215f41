"""How doubtful a frame has to be to be handed on to a bigger model, chosen at home on val."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distill.evaluation.table import matched
from distill.objects import Objects
from labeling.core.errors import InputError
from labeling.core.matching import bootstrap

from .runtime import Frame, Model, sureness

Numbers = npt.NDArray[np.float64]

SHARE = 0.1
"""Of the frames; so many are handed on where nobody asked for another share."""

PER_MINUTE = 30.0
"""So many frames are handed on at most where nobody asked for another bound."""

_POINTS = 101


@dataclass(frozen=True, slots=True, eq=False)
class SecondLook:
    """From which doubt a frame is handed on, and what that is worth.

    A frame is wrong where it has a miss or a false alarm: an object at its threshold answers one of its class at IoU
    0.5, or not. Routing by lot leaves the error rate among the frames that are decided on the device as it is.

    Attributes:
        below: frames that are less sure are handed on.
        share: of the frames of val that are; at most what was asked for, less where many are equally sure.
        per_minute: at most so many are handed on.
        frames: that it was chosen on.
        wrong: how many of them are wrong.
        caught: share of the wrong ones that are handed on, beside ``share`` by lot; None where none is wrong.
        caught_interval: 95 %, frames drawn again; None with fewer than two frames or where none is wrong.
        shares: (101,) of the frames handed on, 0 to 1, the most doubtful ones first.
        error_rates: (101,) share of wrong ones among the frames that stay; NaN where none stays.
        by_lot: error rate among the frames that stay if as many are handed on by lot.
    """

    below: float
    share: float
    per_minute: float
    frames: int
    wrong: int
    caught: float | None
    caught_interval: tuple[float, float] | None
    shares: Numbers
    error_rates: Numbers
    by_lot: float

    @property
    def card(self) -> Mapping[str, float]:
        """What the card of the model says of it."""
        return {"below": self.below, "share": self.share, "per_minute": self.per_minute}

    def sentence(self) -> str:
        """Return what it is worth, for people."""
        if self.caught is None:
            return f"no frame of {self.frames} is wrong: what a second look is worth was not measured"
        interval = "" if self.caught_interval is None else " ({:.0%} to {:.0%})".format(*self.caught_interval)
        return (
            f"{self.share:.0%} of the frames are handed on, and with them {self.caught:.0%}{interval} of the "
            f"{self.wrong} wrong ones; by lot it would be {self.share:.0%}"
        )


def calibrate(
    model: Model, frames: Iterable[Frame], *, share: float = SHARE, per_minute: float = PER_MINUTE
) -> dict[str, float] | None:
    """Return what ``Card.second_look`` says of a model, without asking whether its doubt is worth anything.

    Args:
        model: as it runs on the device.
        frames: of val, BGR uint8 (h, w, 3).
        share: of the frames to hand on, in (0, 1).
        per_minute: at most so many are to be handed on, above 0.

    Returns:
        The limit, the share of the frames below it, and the bound; None without frames.

    Raises:
        InputError: a number lies outside its range.
    """
    _check(share, per_minute)
    canvases = (model.prepare(frame) for frame in frames)
    sure = np.array([model.judge(model.session.run(canvas.tensor), canvas)[1] for canvas in canvases])
    if not len(sure):
        return None
    below = _limit(np.sort(sure), share)
    return {"below": below, "share": float((sure < below).mean()), "per_minute": per_minute}


def second_look(
    truth: Sequence[Objects],
    found: Sequence[Objects],
    names: Sequence[str],
    thresholds: Mapping[str, float],
    *,
    share: float = SHARE,
    per_minute: float = PER_MINUTE,
    resamples: int = 1000,
    seed: int = 0,
) -> SecondLook:
    """Choose the doubt below which a share of the frames falls, and measure how many wrong ones are among them.

    The limit is chosen by the sureness of the frames alone, so what it catches is not better here than elsewhere.

    Args:
        truth: what is there; one per frame of val.
        found: what the student says of the same frames, in the same order, down to a quarter of the lowest threshold.
        names: the classes.
        thresholds: from which score objects count, by class.
        share: of the frames to hand on, in (0, 1).
        per_minute: at most so many are to be handed on, above 0.
        resamples: how often the frames are drawn again.
        seed: of the draws.

    Raises:
        InputError: there is no frame, a class has no threshold, or a number lies outside its range.
    """
    _check(share, per_minute)
    if not truth:
        raise InputError("expected frames of val to calibrate the second look on, got none")
    missing = [name for name in names if name not in thresholds]
    if missing:
        raise InputError(f"expected a threshold for each class, {', '.join(missing)} has none")
    limits = np.array([thresholds[name] for name in names], dtype=np.float32)
    sure = np.array([sureness(one.scores.astype(np.float32), one.class_ids, limits) for one in found])
    wrong = _wrong(truth, found, len(names), limits)
    order = np.argsort(sure, kind="stable")
    below = _limit(sure[order], share)
    handed = sure < below
    caught = interval = None
    if wrong.any():
        caught = float(handed[wrong].mean())
        low, high = bootstrap(np.stack((handed & wrong, wrong), axis=1), _ratio, resamples=resamples, seed=seed)
        interval = None if np.isnan(low[0]) else (float(low[0]), float(high[0]))
    shares: Numbers = np.linspace(0, 1, _POINTS, dtype=np.float64)
    return SecondLook(
        below=below,
        share=float(handed.mean()),
        per_minute=per_minute,
        frames=len(sure),
        wrong=int(wrong.sum()),
        caught=caught,
        caught_interval=interval,
        shares=shares,
        error_rates=_left(sure, wrong, shares),
        by_lot=float(wrong.mean()),
    )


def _check(share: float, per_minute: float) -> None:
    if not 0 < share < 1:
        raise InputError(f"the share of frames for a second look is {share}: expected a number between 0 and 1")
    if not per_minute > 0:
        raise InputError(f"the frames handed on per minute are {per_minute}: expected a number above 0")


def _wrong(
    truth: Sequence[Objects], found: Sequence[Objects], classes: int, limits: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """Return (frames,) whether something is missed or claimed that is not there."""
    table = matched(truth, found, classes, most=None)
    counted = table.score.astype(np.float32) >= limits[table.class_id]
    right = counted & table.right[0]
    false = np.bincount(table.image[counted & ~right], minlength=table.images)
    missed = np.bincount(table.truth_image, minlength=table.images) - np.bincount(
        table.image[right], minlength=table.images
    )
    return np.asarray((false > 0) | (missed > 0))


def _limit(rising: Numbers, share: float) -> float:
    """Return the limit below which at most a share of the values lies, in the middle between two of them."""
    place = int(share * len(rising) + 1e-9)
    return float(rising[place] if place == 0 else (rising[place - 1] + rising[place]) / 2)


def _left(sure: Numbers, wrong: npt.NDArray[np.bool_], shares: Numbers) -> Numbers:
    """Return the error rate of the frames that stay; of equally sure frames any part may go, so they count evenly."""
    levels, level = np.unique(sure, return_inverse=True)
    sizes = np.bincount(level, minlength=len(levels))
    faults = np.bincount(level, weights=wrong, minlength=len(levels))
    gone = np.concatenate(([0], np.cumsum(sizes)))
    caught = np.interp(shares * len(sure), gone, np.concatenate(([0], np.cumsum(faults))))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(shares < 1, (wrong.sum() - caught) / (len(sure) * (1 - shares)), np.nan)


def _ratio(sums: Numbers) -> Numbers:
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[:, :1] / sums[:, 1:]
