"""Settings that cost least on some images of the gold set: prompts, prompts per pass, NMS and thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..core.matching import bootstrap
from .calibration_claims import Aim, Claims, Numbers, claims
from .calibration_thresholds import choose_thresholds
from .gold import GoldImage
from .opinions import Opinion

Prompts = tuple[tuple[str, ...], ...]
"""The prompts of each class, in the order of the ontology."""

Rows = npt.NDArray[np.int64]

NMS = (0.3, 0.5, 0.7, 0.85)
FOLDS = 5
_SURE = 0.68
"""A change has to win by more than its standard error, or what is in force stays."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that calibration may change.

    Attributes:
        prompts: see ``Prompts``.
        prompts_per_pass: see ``TeacherSpec``.
        nms_iou: see ``FilterSettings``.
        thresholds: smallest score kept, one per class.
    """

    prompts: Prompts
    prompts_per_pass: int | None
    nms_iou: float
    thresholds: tuple[float, ...]


Ask = Callable[[Prompts, int | None], Sequence[Opinion]]
"""One pass of the detector over all gold images, in their order."""


class Search:
    """Chooses settings by images that it is told, and counts what settings do on others.

    Args:
        gold: all images.
        today: the settings in force.
        options: per class every prompt that may be tried; a class with less than two keeps its prompts.
        per_pass: values of prompts per pass to try besides today's.
        aim: what counts as cheap.
        ask: the detector; a pass that was asked before is not asked again.
        groups: per image the number of its group; images of one group never stand on both sides of a fold.
        class_agnostic: see ``FilterSettings``.
        min_area_px: see ``FilterSettings``.
    """

    def __init__(
        self,
        gold: Sequence[GoldImage],
        today: Settings,
        options: Sequence[Sequence[str]],
        per_pass: Sequence[int | None],
        aim: Aim,
        ask: Ask,
        groups: npt.NDArray[np.int64],
        *,
        class_agnostic: bool = False,
        min_area_px: float = 4.0,
    ) -> None:
        self.gold, self.today, self.aim, self.groups = gold, today, aim, groups
        self._options = [tuple(some) if len(some) > 1 else () for some in options]
        self._per_pass = [value for value in per_pass if value != today.prompts_per_pass]
        self._ask = ask
        self._class_agnostic, self._min_area_px = class_agnostic, min_area_px
        self._passes: dict[tuple[Prompts, int | None], Sequence[Opinion]] = {}
        self._claims: dict[object, Claims] = {}

    @property
    def passes(self) -> int:
        """How many passes were asked for so far."""
        return len(self._passes)

    def choose(self, rows: Rows) -> Settings:
        """Return the settings that cost least on some images.

        One thing after the other: prompts per pass, the prompts of each class, NMS, at last the thresholds: a common
        one in place of today's, one of each class in place of that. Each is compared with what is in force on inner
        folds of these images, with thresholds that the other folds chose.
        """
        best = self.today
        for value in self._per_pass:
            best = self._better(replace(best, prompts_per_pass=value), best, rows)
        prompts = tuple(self._prompts_of(class_id, rows) for class_id in range(len(best.prompts)))
        if prompts != best.prompts:
            best = self._better(replace(best, prompts=prompts), best, rows)
        before = best
        for overlap in NMS:
            if overlap != before.nms_iou:
                best = self._better(replace(before, nms_iou=overlap), best, rows)
        return replace(best, thresholds=self._thresholds(self.claims_of(best), rows))

    def counts(self, settings: Settings, rows: Rows) -> Numbers:
        """Return hits, false alarms and objects, (len(rows), classes, 3), of images under settings."""
        only = settings.thresholds if self._class_agnostic else None
        return self.claims_of(settings, only).counts(settings.thresholds, rows)

    def claims_of(self, settings: Settings, thresholds: tuple[float, ...] | None = None) -> Claims:
        """Return all boxes under settings, whatever the thresholds; only those above ``thresholds`` where given."""
        asked = (settings.prompts, settings.prompts_per_pass)
        return self._compared(
            (*asked, settings.nms_iou, thresholds), self.gold, self._pass(*asked), settings, thresholds
        )

    def loss(self, counts: Numbers) -> float:
        """Return what counts of images, (images, classes, 3), cost together."""
        return float(self.aim.loss(*np.moveaxis(counts.sum(axis=0), -1, 0)).sum())

    def gain(self, before: Numbers, after: Numbers, confidence: float = 0.95) -> tuple[float, float, float]:
        """Return how much less ``after`` costs than ``before`` on the same images, with its paired interval."""
        images, classes, _ = before.shape
        parts = np.concatenate([before, after], axis=1).reshape(images, -1)

        def saved(sums: Numbers) -> Numbers:
            each = sums.reshape(len(sums), 2, classes, 3)
            losses = self.aim.loss(each[..., 0], each[..., 1], each[..., 2]).sum(axis=-1)
            return np.asarray(losses[:, :1] - losses[:, 1:], dtype=np.float64)

        low, high = bootstrap(parts, saved, confidence=confidence)
        return self.loss(before) - self.loss(after), float(low[0]), float(high[0])

    def _thresholds(self, found: Claims, rows: Rows) -> tuple[float, ...]:
        best, counts = self.today.thresholds, found.counts(self.today.thresholds, rows)
        for own in (False, True):
            after = self._inner(found, rows, own=own)
            if self.gain(counts, after, _SURE)[1] > 0:
                counts = after
                best = choose_thresholds(found, rows, self.aim, self.today.thresholds, own=own)
        return best

    def _better(self, new: Settings, old: Settings, rows: Rows) -> Settings:
        before, after = self._inner(self.claims_of(old), rows), self._inner(self.claims_of(new), rows)
        return new if self.gain(before, after, _SURE)[1] > 0 else old

    def _inner(self, found: Claims, rows: Rows, today: Sequence[float] | None = None, *, own: bool = True) -> Numbers:
        """Return the counts on each image at thresholds that the images of other folds chose."""
        counts = np.zeros((len(rows), found.objects.shape[1], 3))
        for held in folds(self.groups[rows], seed=1):
            others = np.setdiff1d(np.arange(len(rows)), held)
            chosen = choose_thresholds(found, rows[others], self.aim, today or self.today.thresholds, own=own)
            counts[held] = found.counts(chosen, rows[held])
        return counts

    def _prompts_of(self, class_id: int, rows: Rows) -> tuple[str, ...]:
        """Return the prompts of one class that look best: greedily, from the boxes of passes with one prompt each."""
        now, options = self.today.prompts[class_id], self._options[class_id]
        if not options or not any((people.class_ids == class_id).any() for people in (self.gold[row] for row in rows)):
            return now
        own = [self.today.thresholds[class_id]]
        best: tuple[int, ...] = ()
        counts, left = None, set(range(len(options)))
        while left:
            tried = {number: self._inner(self._alone(class_id, (*best, number)), rows, own) for number in sorted(left)}
            number = min(tried, key=lambda one: (self.loss(tried[one]), one))
            if counts is not None and self.gain(counts, tried[number], _SURE)[1] <= 0:
                break
            best, counts = (*best, number), tried[number]
            left.remove(number)
        before = self._inner(self._alone(class_id, None), rows, own)
        if counts is None or self.gain(before, counts, _SURE)[1] <= 0:
            return now
        return tuple(options[number] for number in sorted(best))

    def _alone(self, class_id: int, columns: tuple[int, ...] | None) -> Claims:
        """Return the boxes of one class as if it were the only one: of today's prompts, or of some of its options."""
        today = self.today
        passes = [self._pass(today.prompts, today.prompts_per_pass)]
        if columns is not None:
            passes = [self._pass(self._column(number), today.prompts_per_pass) for number in sorted(columns)]
        said = [_only([one[image] for one in passes], class_id) for image in range(len(self.gold))]
        people = [
            GoldImage(one.sha256, one.size_wh, one.boxes_xyxy[of], one.class_ids[of] * 0)
            for one in self.gold
            for of in [one.class_ids == class_id]
        ]
        key = ("alone", class_id, None if columns is None else tuple(sorted(columns)))
        return self._compared(key, people, said, replace(today, prompts=((),)), None)

    def _column(self, number: int) -> Prompts:
        """Return prompts under which every class that has so many options tries this one alone."""
        return tuple(
            (options[number],) if number < len(options) else now
            for options, now in zip(self._options, self.today.prompts, strict=True)
        )

    def _compared(
        self,
        key: object,
        gold: Sequence[GoldImage],
        said: Sequence[Opinion],
        settings: Settings,
        thresholds: tuple[float, ...] | None,
    ) -> Claims:
        if key not in self._claims:
            self._claims[key] = claims(
                gold, said, len(settings.prompts), settings.nms_iou,
                class_agnostic=self._class_agnostic, min_area_px=self._min_area_px, thresholds=thresholds,
            )  # fmt: skip
        return self._claims[key]

    def _pass(self, prompts: Prompts, per_pass: int | None) -> Sequence[Opinion]:
        key = (prompts, per_pass)
        if key not in self._passes:
            self._passes[key] = self._ask(prompts, per_pass)
        return self._passes[key]


def most_passes(options: Sequence[Sequence[str]], per_pass: Sequence[int | None]) -> int:
    """Return how many passes of the detector a nested search can need at most; arguments as ``Search`` takes them."""
    columns = max((len(some) for some in options if len(some) > 1), default=0)
    return 1 + len(per_pass) + (columns + FOLDS + 1 if columns else 0)


def folds(groups: npt.NDArray[np.int64], *, seed: int = 0, count: int = FOLDS) -> list[Rows]:
    """Return rows in ``count`` parts of like size by lot; rows of one group come into one part.

    Args:
        groups: (n,) number of the group of each row.
        seed: of the lot.
        count: parts; fewer where there are fewer groups.
    """
    names, sizes = np.unique(groups, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    parts: list[list[int]] = [[] for _ in range(min(count, len(names)))]
    for place in order:
        smallest = min(parts, key=len)
        smallest.extend(np.flatnonzero(groups == names[place]).tolist())
    return [np.array(sorted(part), dtype=np.int64) for part in parts]


def _only(opinions: Sequence[Opinion], class_id: int) -> Opinion:
    """Return the boxes of one class in several opinions about one image, as class 0."""
    of = [one.class_ids == class_id for one in opinions]
    return replace(
        opinions[0],
        boxes_xyxy=np.concatenate([one.boxes_xyxy[rows] for one, rows in zip(opinions, of, strict=True)]),
        class_ids=np.zeros(sum(int(rows.sum()) for rows in of), dtype=np.int64),
        scores=np.concatenate([one.scores[rows] for one, rows in zip(opinions, of, strict=True)]),
        prompts=tuple(one.prompts[row] for one, rows in zip(opinions, of, strict=True) for row in np.flatnonzero(rows)),
    )
