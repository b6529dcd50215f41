"""Everyone who speaks about the same images in one table, and whether the differences between them are real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from labeling.core.errors import InputError
from labeling.report_words import counted

from .evaluation.at_threshold import Answers, at_threshold
from .evaluation.resampling import Bounds, average_precisions, bounds, draws, mean_of, resampled
from .evaluation.table import Numbers, Table, matched
from .objects import Objects

Metric = Literal["ap50", "ap50_95", "f1"]
Verdict = Literal["better", "worse", "no difference shown", "too few images"]

METRICS: Mapping[Metric, str] = {"ap50": "AP50", "ap50_95": "AP50-95", "f1": "F1"}
"""Names for people. The first two are means over classes and need no threshold; F1 is over all objects at it."""

FEWEST = 6
"""With fewer images no verdict is given: five that all go one way do so by chance in 1 of 16 cases (sign test)."""

_EQUAL = 1e-12
_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure and its interval of 95 %, images drawn again; None where it is not defined."""

    value: float | None
    interval: Bounds | None


@dataclass(frozen=True, slots=True)
class Row:
    """One speaker, measured against the truth.

    Attributes:
        speaker: such as "teacher".
        threshold: from which score its objects count for precision, recall and F1; one per class where they differ.
        ap50: mean over the classes at IoU 0.5.
        ap50_95: mean over the classes and IoU 0.5 to 0.95.
        ap50_of: of each class, by name; None where nothing of it is there.
        overall: right, false and missed objects, precision, recall and F1 at the threshold, see ``Answers``.
        classes: the same of each class.
        notes: what a reader has to know, one sentence each.
    """

    speaker: str
    threshold: float | tuple[float, ...]
    ap50: Measure
    ap50_95: Measure
    ap50_of: Mapping[str, float | None]
    overall: Answers
    classes: tuple[Answers, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two speakers on the same images: the first minus the second.

    Attributes:
        first, second: the speakers.
        metric: what is compared.
        images: that both speak about.
        difference: None where it is not defined.
        interval: 95 %, both measured on the same drawn images.
        share_above_zero: of the resamples, those in which the first is better; equal ones count half.
        verdict: of the first; "better" and "worse" only where the interval leaves out zero.
    """

    first: str
    second: str
    metric: Metric
    images: int
    difference: float | None
    interval: Bounds | None
    share_above_zero: float | None
    verdict: Verdict

    @property
    def words(self) -> str:
        """The verdict as one sentence."""
        start = f"{self.first} against {self.second} on {counted(self.images, 'image')}, {METRICS[self.metric]}"
        if self.difference is None:
            return f"{start}: not measured"
        spread = "" if self.interval is None else f" ({self.interval[0]:+.3f} to {self.interval[1]:+.3f})"
        return f"{start}: {self.difference:+.3f}{spread}, {self.verdict}"


@dataclass(frozen=True, slots=True)
class Standing:
    """Everyone who speaks about all of some images.

    Attributes:
        about: the speaker whose images these are, where it does not speak about all; None for all images.
        images: sha256 each.
        objects: that are there.
        rows: in the order in which they were given.
        pairs: the student and each of the others; with ``about`` that one alone.
    """

    about: str | None
    images: tuple[str, ...]
    objects: int
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All speakers.

    Attributes:
        reference: whose word is the truth; measured against itself it would be perfect, so it has no row.
        standings: first that of all images; then one for each speaker who speaks about some of them only, with
            everyone else on the same images.
        not_measured: speakers who say nothing about any of the images.
    """

    reference: str
    standings: tuple[Standing, ...]
    not_measured: tuple[str, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """Those of everyone who speaks about all images."""
        return self.standings[0].rows

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Those of all standings; each says on how many images it rests."""
        return tuple(pair for standing in self.standings for pair in standing.pairs)


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """A row, the figures that pairs compare, and the same in each resample, (r,)."""

    row: Row
    points: Mapping[Metric, float]
    drawn: Mapping[Metric, Numbers]


def compare(
    truth: Sequence[Objects],
    said: Mapping[str, Sequence[Objects]],
    names: Sequence[str],
    *,
    thresholds: Mapping[str, float | Sequence[float]] | None = None,
    student: str = "student",
    reference: str = "people",
    notes: Mapping[str, str] | None = None,
    masks: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Measure everyone against the truth, and the student against each of the others.

    Pairs by the paired bootstrap (Efron and Tibshirani, 1993): in each resample both are measured on the same drawn
    images. Each interval stands alone, no account is taken of how many there are.

    Args:
        truth: what is there; one per image.
        said: by speaker, in the order of the table; each says one Objects per image, of all images or of some, in any
            order.
        names: the classes.
        thresholds: by speaker, from which score its objects count for precision, recall and F1, one or one per class;
            0 for those that are not named, as for people and for a teacher whose labels are cut off already.
        student: the speaker that all others are compared with; speaks about all images.
        reference: whose word the truth is.
        notes: what a reader has to know about a speaker.
        masks: compare masks instead of boxes; the rectangle of its box stands for an object without one.
        resamples: how often the images are drawn again.
        seed: of the draws.

    Raises:
        InputError: no images, a speaker says something about an image twice or about one without truth, or the
            student does not speak about all images.
    """
    if not truth:
        raise InputError("expected images whose truth is known, got none: have some of the test part reviewed")
    known = [one.sha256 for one in truth]
    spoken = {speaker: _by_image(speaker, objects, set(known)) for speaker, objects in said.items()}
    if student not in spoken or len(spoken[student]) < len(known):
        raise InputError(
            f"expected what {student!r} says about all {len(known)} images, got {len(spoken.get(student, {}))}: leave "
            "out for everyone what it could not look at"
        )

    def standing(about: str | None, members: Sequence[Objects], speakers: Sequence[str]) -> Standing:
        measured = {
            speaker: _measured(
                speaker,
                members,
                [spoken[speaker][one.sha256] for one in members],
                names,
                (thresholds or {}).get(speaker, 0.0),
                (notes or {}).get(speaker),
                masks=masks,
                resamples=resamples,
                seed=seed,
            )
            for speaker in speakers
        }
        others = [speaker for speaker in speakers if speaker != student and about in (None, speaker)]
        return Standing(
            about,
            tuple(one.sha256 for one in members),
            sum(len(one) for one in members),
            tuple(one.row for one in measured.values()),
            tuple(
                _pair(measured[student], measured[other], metric, len(members))
                for other in others
                for metric in get_args(Metric)
            ),
        )

    full = [speaker for speaker in said if len(spoken[speaker]) == len(known)]
    partly = [speaker for speaker in said if 0 < len(spoken[speaker]) < len(known)]
    standings = [standing(None, truth, full)]
    for speaker in partly:
        members = [one for one in truth if one.sha256 in spoken[speaker]]
        standings.append(standing(speaker, members, [one for one in said if one in full or one == speaker]))
    return Comparison(reference, tuple(standings), tuple(speaker for speaker in said if not spoken[speaker]))


def _by_image(speaker: str, said: Sequence[Objects], known: set[str]) -> dict[str, Objects]:
    found = {one.sha256: one for one in said}
    if len(found) < len(said) or not found.keys() <= known:
        odd = next((one for one in found if one not in known), "one image twice")
        raise InputError(f"expected what {speaker!r} says once about each image that has a truth, got {odd}")
    return found


def _measured(
    speaker: str,
    truth: Sequence[Objects],
    said: Sequence[Objects],
    names: Sequence[str],
    threshold: float | Sequence[float],
    note: str | None,
    *,
    masks: bool,
    resamples: int,
    seed: int,
) -> _Measured:
    table = matched(truth, said, len(names), masks=masks)
    once = average_precisions(table, np.ones((1, len(truth))))
    again = resampled(table, resamples=resamples, seed=seed)
    scores: Numbers = np.broadcast_to(np.asarray(threshold, dtype=np.float64), len(names))
    counted = at_threshold(truth, said, names, scores.tolist(), masks=masks, resamples=resamples, seed=seed)
    drawn: dict[Metric, Numbers] = {
        "ap50": mean_of(again[:, :1]),
        "ap50_95": mean_of(again),
        "f1": _f1(table, scores, resamples, seed),
    }
    f1 = counted.overall.f1
    points: dict[Metric, float] = {
        "ap50": float(mean_of(once[:, :1])[0]),
        "ap50_95": float(mean_of(once)[0]),
        "f1": np.nan if f1 is None else f1,
    }
    row = Row(
        speaker,
        float(scores[0]) if len(set(scores.tolist())) == 1 else tuple(scores.tolist()),
        Measure(_defined(points["ap50"]), bounds(drawn["ap50"], len(truth))),
        Measure(_defined(points["ap50_95"]), bounds(drawn["ap50_95"], len(truth))),
        {name: _defined(float(once[0, 0, k])) for k, name in enumerate(names)},
        counted.overall,
        counted.classes,
        tuple(_notes(said, note, masks)),
    )
    return _Measured(row, points, drawn)


def _f1(table: Table, scores: Numbers, resamples: int, seed: int) -> Numbers:
    """Return F1 over all objects in each resample, (r,); the draws are those of ``resampled``."""
    counts = table.score >= scores[table.class_id]
    right = np.bincount(table.image[counts & table.right[0]], minlength=table.images)
    said = np.bincount(table.image[counts], minlength=table.images)
    each = np.stack([table.truths.sum(axis=1), right, said], axis=1)
    blocks = draws(table.images, resamples, seed, max(1, _CELLS // table.images))
    there, found, claimed = np.concatenate([block @ each for block in blocks]).T
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there > 0, 2 * found / (there + claimed), np.nan))


def _pair(first: _Measured, second: _Measured, metric: Metric, images: int) -> Pair:
    apart = first.drawn[metric] - second.drawn[metric]
    difference = _defined(first.points[metric] - second.points[metric])
    interval = None if difference is None else bounds(apart, images)
    above = None
    verdict: Verdict = "too few images"
    if interval is not None:
        known = apart[np.isfinite(apart)]
        above = float((known > _EQUAL).mean() + (np.abs(known) <= _EQUAL).mean() / 2)
        if images >= FEWEST:
            low, high = interval
            verdict = "better" if low > _EQUAL else "worse" if high < -_EQUAL else "no difference shown"
    return Pair(first.row.speaker, second.row.speaker, metric, images, difference, interval, above, verdict)


def _notes(said: Sequence[Objects], given: str | None, masks: bool) -> list[str]:
    notes = [given] if given else []
    objects = [one for one in said if len(one)]
    if objects and all((one.scores == 1).all() for one in objects):
        notes.append("It gives no scores, so its average precision rests on one point of the curve.")
    if masks and objects and all(one.rles is None for one in objects):
        notes.append("It draws no masks; the rectangles of its boxes stand for them.")
    return notes


def _defined(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
