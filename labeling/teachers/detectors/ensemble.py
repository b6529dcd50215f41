"""Several detectors as one: scores brought to one scale, boxes of one object fused, and who saw it kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import supervision as sv

from ...core.errors import BackendError, InputError, MissingExtraError
from ...core.ontology import Ontology
from .. import filters
from ..backends import ENSEMBLE_SCORE
from ..catalogue import Backend
from ..filter_settings import FilterSettings
from ..interfaces import Detected, Detector, RgbImage

try:
    from ensemble_boxes import weighted_boxes_fusion
except ModuleNotFoundError as missing:
    raise MissingExtraError("ensemble_boxes", "ensemble") from missing

_SAME_OBJECT_IOU = 0.55
_EACH_ONCE = FilterSettings(nms_iou=_SAME_OBJECT_IOU, min_area_px=0.0)
_BENT = (0.0, ENSEMBLE_SCORE, 1.0)
_LEAST_WEIGHT = 1e-6


@dataclass(frozen=True, slots=True)
class Member:
    """One detector of an ensemble.

    Attributes:
        model: its name in the provenance.
        detector: the loaded detector.
        backend: its table row, whose default score becomes 0.5.
    """

    model: str
    detector: Detector
    backend: Backend


class EnsembleDetector:
    """Detector over members whose boxes of one object become one by weighted box fusion (Solovyev et al., 2021).

    A member's score is bent so that its default becomes 0.5, by two straight lines through (0, 0), (default, 0.5) and
    (1, 1). All scores of an ensemble are on that scale, also those asked for and those of classes in the ontology.

    Boxes of a class that overlap the best of them by IoU 0.55 are one object; what a member itself says twice counts
    once. Their corners are averaged with the scores as weights. The object has the best of the scores: an average over
    the members, as in the publication, would put all that one of two saw below the default, and it would depend on how
    far down the members were asked. ``data["sources"]`` says who agreed, so that people can ask for more than one.

    The order of the members changes no box. Features are those of the first.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        """Combine loaded members, at least one."""
        self._members = tuple(members)

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        """Return every box whose bent score reaches ``floor``; see the Detector protocol.

        Raises:
            BackendError: a member failed. InputError: a member does not know a prompt; both say which.
        """
        answers = []
        for member in self._members:
            try:
                found = member.detector.detect(images, ontology, float(np.interp(floor, _BENT, _scale(member))))
            except InputError as error:
                raise InputError(f"{member.model}: {error}") from error
            except BackendError as error:
                raise BackendError(f"{member.model}: {error}") from error
            if len(found) != len(images):
                raise BackendError(f"{member.model} answered {len(found)} results for {len(images)} images")
            answers.append(found)
        return [self._one(image, ontology, said) for image, *said in zip(images, *answers, strict=True)]

    def _one(self, image: RgbImage, ontology: Ontology, said: Sequence[Detected]) -> Detected:
        height, width = image.shape[:2]
        dropped = sum((one.dropped for one in said), Counter[str]())
        sound = []
        for one in said:
            boxes, drops = filters.apply(
                one.detections, (width, height), ontology.names, [0.0] * len(ontology.classes), _EACH_ONCE
            )
            # What it says twice is not lost: the object stays.
            dropped.update({reason: count for (reason, _), count in drops.items() if reason != "nms"})
            sound.append(boxes)
        votes = _Votes.of(self._members, sound)
        return Detected(_fused(votes, self._members, sound, (width, height)), said[0].image_feature, dropped)


@dataclass(frozen=True, slots=True)
class _Votes:
    """The boxes of all members in an order that does not depend on the order of the members, best first per class.

    Attributes:
        xyxy: (n, 4) float64 pixels inside the image.
        scores: (n,) float64, bent.
        class_ids: (n,) int.
        member: (n,) int, whose box it is.
        row: (n,) int, which of its boxes.
    """

    xyxy: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    class_ids: npt.NDArray[np.int64]
    member: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]

    @staticmethod
    def of(members: Sequence[Member], said: Sequence[sv.Detections]) -> _Votes:
        xyxy = np.concatenate([one.xyxy for one in said]).astype(np.float64)
        scores = np.concatenate(
            [np.interp(one.confidence, _scale(member), _BENT) for member, one in zip(members, said, strict=True)]
        )
        class_ids = np.concatenate([one.class_id for one in said])
        member = np.repeat(np.arange(len(said)), [len(one) for one in said])
        row = np.concatenate([np.arange(len(one)) for one in said])
        rank = np.argsort(np.argsort([entry.model for entry in members]))
        order = np.lexsort((rank[member], *xyxy.T, -scores, class_ids))
        return _Votes(xyxy[order], scores[order], class_ids[order], member[order], row[order])


def _fused(
    votes: _Votes, members: Sequence[Member], said: Sequence[sv.Detections], size_wh: tuple[int, int]
) -> sv.Detections:
    # Ranks in place of scores: equal scores would be grouped in an order that depends on the sort.
    ranks = np.arange(len(votes.scores), 0, -1)
    groups = sv.box_non_max_merge(np.column_stack([votes.xyxy, ranks, votes.class_ids]), _SAME_OBJECT_IOU)
    best = np.array([group[0] for group in groups], dtype=int)
    data: dict[str, Any] = {
        "prompt": _objects([said[votes.member[row]].data["prompt"][votes.row[row]] for row in best]),
        "sources": _objects([_sources(votes, members, said, group) for group in groups]),
    }
    firsts = [next((votes.row[row] for row in group if votes.member[row] == 0), None) for group in groups]
    if "feature" in said[0].data and None not in firsts:
        data["feature"] = said[0].data["feature"][np.array(firsts, dtype=int)]
    return sv.Detections(
        xyxy=_averaged(votes, groups, size_wh).astype(np.float32),
        confidence=votes.scores[best].astype(np.float32),
        class_id=votes.class_ids[best],
        data=data,
    )


def _averaged(votes: _Votes, groups: Sequence[Sequence[int]], size_wh: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return the (groups, 4) box of each group.

    The library does not tell which boxes it fused. So each group is a class of its own for it, in which all is fused.
    """
    labels = np.empty(len(votes.scores), dtype=int)
    for number, group in enumerate(groups):
        labels[group] = number
    scale = np.array([*size_wh, *size_wh], dtype=np.float64)
    weights = np.maximum(votes.scores, _LEAST_WEIGHT)
    shares, _, numbers = weighted_boxes_fusion([votes.xyxy / scale], [weights], [labels], iou_thr=0.0, conf_type="max")
    averaged: npt.NDArray[np.float64] = shares[np.argsort(numbers)] * scale
    return averaged


def _sources(
    votes: _Votes, members: Sequence[Member], said: Sequence[sv.Detections], group: Sequence[int]
) -> tuple[tuple[str, float], ...]:
    """Return each member that saw the object with its own best score, the surest of them first."""
    sources: dict[str, float] = {}
    for row in group:
        index = votes.member[row]
        sources.setdefault(members[index].model, float(said[index].confidence[votes.row[row]]))
    return tuple(sources.items())


def _scale(member: Member) -> tuple[float, float, float]:
    return 0.0, member.backend.default_score, 1.0


def _objects(values: Sequence[object]) -> npt.NDArray[np.object_]:
    array = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):  # at once, numpy would look into the tuples
        array[place] = value
    return array
