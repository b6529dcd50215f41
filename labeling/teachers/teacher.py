"""A teacher: detector, filters and segmenter as configured; images in, pre-labels out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..core.errors import BackendError, InputError
from ..core.ontology import Ontology
from ..core.records import TILED
from ..core.store_rows import Machine
from . import backends, filters
from .filter_settings import FilterSettings
from .filters import Drops
from .interfaces import Detected, Detector, RgbImage, Segmenter
from .tiles import Tiling, tiling_of
from .tiling import TiledDetector, TiledSegmenter

if TYPE_CHECKING:
    import supervision as sv


@dataclass(frozen=True, slots=True)
class Labelled:
    """What the teacher says about one image.

    Attributes:
        detections: filtered, best first; ``data`` has, aligned with the rows, ``prompt`` and ``flags`` (tuple of
            str), ``rle`` (Rle or None) and ``mask_score`` (float32, NaN without a segmenter), and ``feature``
            (n, d) float16 where the detector has features.
        image_feature: (d,) float16 pooled features of the image, or None.
        drops: how many boxes were dropped, by (reason, class name).
        faint: boxes below the scores but not far, best first, without masks and ``data``; no labels.
        notes: how the image was looked at, where that is out of the ordinary: ``tiled``.
    """

    detections: sv.Detections
    image_feature: npt.NDArray[np.float16] | None
    drops: Drops
    faint: sv.Detections
    notes: tuple[str, ...] = ()


class Teacher:
    """Labels images: prompts -> boxes (detector) -> filters -> masks (segmenter).

    Holds no state between images. Detector and segmenter can be called apart (``detect``, then ``segment``), so that
    a pipeline can let them overlap.
    """

    def __init__(
        self,
        detector: Detector,
        segmenter: Segmenter | None,
        ontology: Ontology,
        scores: Sequence[float],
        settings: FilterSettings,
        model: str = "",
        machine: Machine = "teacher",
        tiling: Tiling | None = None,
    ) -> None:
        """Combine the parts.

        Args:
            detector: finds boxes.
            segmenter: turns boxes into masks; None for boxes alone.
            ontology: classes and prompts.
            scores: smallest score kept, one per class, in [0, 1].
            settings: of the filters.
            model: name for the provenance of the labels.
            machine: whose labels they are.
            tiling: which images are labelled piece by piece; None for none.
        """
        if len(scores) != len(ontology.classes):
            raise InputError(f"expected {len(ontology.classes)} scores, one per class, got {len(scores)}")
        self.detector = detector
        self.segmenter = segmenter
        self.ontology = ontology
        self.scores = tuple(scores)
        self.settings = settings
        self.model = model
        self.machine = machine
        self._tiling = tiling
        self._detector, self._segmenter = detector, segmenter
        if tiling is not None:
            self._detector = TiledDetector(detector, tiling, min(self.scores))
            self._segmenter = TiledSegmenter(segmenter, tiling) if segmenter is not None else None

    def label(self, images: Sequence[RgbImage]) -> list[Labelled]:
        """Return one result per image, in order. Raises BackendError; lets torch.OutOfMemoryError through."""
        return self.segment(images, self.detect(images))

    def detect(self, images: Sequence[RgbImage]) -> list[Labelled]:
        """Return the filtered boxes of each image, without masks."""
        found = self._detector.detect(images, self.ontology, min(self.scores) * self.settings.faint_share)
        if len(found) != len(images):
            raise BackendError(f"the detector answered {len(found)} results for {len(images)} images")
        return [self._filtered(image, detected) for image, detected in zip(images, found, strict=True)]

    def segment(self, images: Sequence[RgbImage], labelled: Sequence[Labelled]) -> list[Labelled]:
        """Return the same boxes with their masks."""
        if self._segmenter is None:
            return list(labelled)
        masks = self._segmenter.segment(images, [one.detections.xyxy for one in labelled])
        results = []
        for one, segmented in zip(labelled, masks, strict=True):
            if len(segmented.rles) != len(one.detections):
                raise BackendError(
                    f"the segmenter answered {len(segmented.rles)} masks for {len(one.detections)} boxes"
                )
            detections = one.detections[np.arange(len(one.detections))]
            detections.data["rle"][:] = segmented.rles
            detections.data["mask_score"] = segmented.scores.astype(np.float32)
            feature = segmented.image_feature if one.image_feature is None else one.image_feature
            results.append(replace(one, detections=detections, image_feature=feature))
        return results

    def _filtered(self, image: RgbImage, detected: Detected) -> Labelled:
        height, width = image.shape[:2]
        found = detected.detections
        # What the detector is asked for besides counts neither as a label nor as dropped.
        asked = ~(found.confidence < np.float32(min(self.scores)))
        detections, drops = filters.apply(
            found[asked], (width, height), self.ontology.names, self.scores, self.settings
        )
        faint = filters.faint(found, detections, (width, height), self.scores, self.settings)
        drops.update({(reason, ""): count for reason, count in detected.dropped.items()})
        if "rle" not in detections.data:  # some detectors draw masks themselves
            detections.data["rle"] = np.full(len(detections), None, dtype=object)
            detections.data["mask_score"] = np.full(len(detections), np.nan, dtype=np.float32)
        notes = (TILED,) if self._tiling is not None and self._tiling.cuts(image) else ()
        return Labelled(detections, detected.image_feature, drops, faint, notes)


def build_teacher(spec: backends.TeacherSpec, ontology: Ontology, settings: FilterSettings) -> Teacher:
    """Load the models of a spec and combine them.

    Raises:
        BackendError: weights are absent or of the wrong kind. MissingExtraError: a library is not installed.
        InputError: an unknown backend, class, prompt or device.
    """
    tiling = tiling_of(spec.tile)
    detector = backends.build_detector(spec)
    # A prompt that the detector cannot read is refused here, before the first image is decoded.
    detector.detect([], ontology, 1.0)
    return Teacher(
        detector,
        backends.build_segmenter(spec),
        ontology,
        backends.effective_scores(spec, ontology),
        settings,
        backends.model_name(spec),
        backends.machine(spec),
        tiling,
    )
