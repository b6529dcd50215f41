"""What a split is: how it was asked for, and which image is in which part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from typing import Literal

from labeling.core.errors import InputError
from labeling.core.store_splits import Part

from .place import TEST, TRAIN, VAL, Home


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """How to split. Raises InputError where that is impossible.

    Attributes:
        parts: shares of train, val and test among the images that may be measured on; together 1, train above 0.
        seed: of the order among equals.
        folds: so many folds share what is not test; each of them is val once. None for one val part.
        by_time: ``always``: the oldest images teach, the newest are the test, never shuffled; ``never``; ``auto``: if
            photos are clearly a series, see ``split_time.timeline``, and there are no folds.
        unreviewed: images that nobody has reviewed may be in val and test.
    """

    parts: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0
    folds: int | None = None
    by_time: Literal["auto", "always", "never"] = "auto"
    unreviewed: bool = False

    def __post_init__(self) -> None:
        shares = self.parts
        if len(shares) != 3 or not isclose(sum(shares), 1, abs_tol=1e-6) or min(shares) < 0 or shares[0] <= 0:
            raise InputError(
                f"parts are {shares}: expected three shares that sum to 1, train above 0: (0.7, 0.15, 0.15)"
            )
        if self.folds is not None and self.folds < 2:
            raise InputError(f"folds is {self.folds}: expected 2 or more, such as 5")
        if self.folds is not None and self.by_time == "always":
            raise InputError("folds mix old and new photos, a cut by time never does: give only one of the two")

    @property
    def shares(self) -> dict[Home, float]:
        """What each home is to have."""
        train, val, test = self.parts
        if self.folds is None:
            shares = {TRAIN: train, VAL: val}
        else:
            shares = {("train", fold): (train + val) / self.folds for fold in range(self.folds)}
        return {home: share for home, share in (shares | {TEST: test}).items() if share > 0}


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A split as it stands in labels.db.

    Attributes:
        name: of the split.
        settings: by_time is ``always`` or ``never``.
        parts: of images, by sha256; with folds, all but test is train.
        folds: of images, by sha256; empty without folds. Images of train that have none only teach.
        kin: the first image of its group, by sha256; every image has one.
        left_out: how many images of labels.db are in no part, by reason.
        remarks: what to know, one sentence each.
    """

    name: str
    settings: SplitSettings
    parts: Mapping[str, Part]
    folds: Mapping[str, int]
    kin: Mapping[str, str]
    left_out: Mapping[str, int]
    remarks: tuple[str, ...]

    def images(self, part: Part, fold: int | None = None) -> tuple[str, ...]:
        """Return the images of a part, by sha256.

        Args:
            part: train, val or test.
            fold: that is val; train is all others then, without those that only teach and are kin to it. None, where
                there are folds, counts all of them as train.

        Raises:
            InputError: no such fold.
        """
        if fold is None or part == "test":
            return tuple(sorted(sha256 for sha256, where in self.parts.items() if where == part))
        if fold not in range(self.settings.folds or 0):
            raise InputError(f"fold {fold}: the split {self.name!r} has {self.settings.folds or 'no'} folds, from 0")
        val = {sha256 for sha256, where in self.folds.items() if where == fold}
        if part == "val":
            return tuple(sorted(val))
        known = {self.kin[sha256] for sha256 in val}
        return tuple(sha256 for sha256 in self.images("train") if self.kin[sha256] not in known)
