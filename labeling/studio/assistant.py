"""The teacher at the elbow of the person who draws: labels for one image, masks for boxes drawn on it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..core.errors import InputError
from ..core.records import Annotation, Provenance
from ..core.store_rows import FileStamp
from ..formats.labelstudio import IMAGE_CONTROL, KEY
from ..outcomes import labelled_outcome
from . import convert

if TYPE_CHECKING:
    from ..images import LoadedImage
    from ..teachers.interfaces import EmbeddingSegmenter, Segmented
    from ..teachers.teacher import Teacher

LoadPhoto = Callable[[Mapping[str, Any]], "LoadedImage"]
"""Returns the image of a task by its ``data``; raises InputError or ServerError."""

_KEPT_IMAGES = 16


class Assistant:
    """Answers Label Studio about one task at a time. Not for several threads at once.

    The image encoder runs once per image while people draw on it; the last 16 images are kept.
    """

    def __init__(self, teacher: Teacher, load: LoadPhoto) -> None:
        self.model_version = teacher.model
        self._teacher = teacher
        self._load = load
        self._seen: OrderedDict[str, tuple[Any, tuple[int, int]]] = OrderedDict()

    def answer(self, data: Mapping[str, Any], drawn: Sequence[Any] = ()) -> dict[str, Any]:
        """Return a prediction: of the whole image, or the masks of the boxes that somebody has just drawn.

        Args:
            data: of the task.
            drawn: regions of Label Studio; those that are no readable rectangle get no mask.

        Raises:
            InputError: the photo is gone or cannot be read. ServerError: nor can it be fetched.
        """
        if drawn:
            return self._masks(data, drawn)
        image = self._load(data)
        labelled = self._teacher.label([image.pixels])[0]
        names, model = self._teacher.ontology.names, self.model_version
        outcome = labelled_outcome(FileStamp(b"", 0, 0), image, labelled, names, model, "")
        height, width = image.pixels.shape[:2]
        return convert.prediction(outcome.annotations, (width, height))

    def _masks(self, data: Mapping[str, Any], drawn: Sequence[Any]) -> dict[str, Any]:
        nothing = {"model_version": self.model_version, "result": []}
        if self._teacher.segmenter is None:
            return nothing
        segmenter = cast("EmbeddingSegmenter", self._teacher.segmenter)
        embedding, (width, height) = self._embedding(segmenter, data)
        readable, _ = convert.read(drawn, (width, height))
        boxes = [one for one in readable if one.kind == "rectangle"]
        if not boxes:
            return nothing
        found = segmenter.segment_embedded(
            embedding, np.array([one.box_xyxy for one in boxes], dtype=np.float32), (height, width)
        )
        masks = [self._annotation(one, found, row) for row, one in enumerate(boxes) if found.rles[row] is not None]
        return convert.prediction(masks, (width, height)) if masks else nothing

    def _annotation(self, box: convert.Drawn, found: Segmented, row: int) -> Annotation:
        # The mask is a region of its own beside the box that was drawn, so it needs an id of its own.
        content = f"{self.model_version} {box.region_id} {box.box_xyxy}"
        score = float(found.scores[row])
        return Annotation(
            id=hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32],
            sha256="",
            class_name=box.class_name,
            box_xyxy=box.box_xyxy,
            provenance=Provenance("teacher", model=self.model_version, score=score, mask_score=score),
            rle=found.rles[row],
        )

    def _embedding(self, segmenter: EmbeddingSegmenter, data: Mapping[str, Any]) -> tuple[Any, tuple[int, int]]:
        key = str(data.get(KEY) or data.get(IMAGE_CONTROL))
        if key not in self._seen:
            if not hasattr(segmenter, "embed"):
                raise InputError("this segmenter cannot draw masks on demand: choose sam2 or bundled with --segmenter")
            pixels = self._load(data).pixels
            height, width = pixels.shape[:2]
            self._seen[key] = segmenter.embed(pixels), (width, height)
            if len(self._seen) > _KEPT_IMAGES:
                self._seen.popitem(last=False)
        self._seen.move_to_end(key)
        return self._seen[key]
