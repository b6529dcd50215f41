"""The teacher at the elbow of the person who draws: labels for one image, masks for boxes drawn on it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..core.errors import InputError, LabelstillError
from ..core.records import Annotation, Provenance
from ..core.store_rows import FileStamp
from ..formats.labelstudio import IMAGE_CONTROL, KEY
from ..outcomes import labelled_outcome
from . import convert

if TYPE_CHECKING:
    from ..images import LoadedImage
    from ..teachers.interfaces import EmbeddingSegmenter, Segmented
    from ..teachers.teacher import Teacher

KEPT_IMAGES = 16


class Declined(LabelstillError):
    """The teacher must not help with this task."""


class Assistant:
    """Answers Label Studio about one task at a time. Not for several threads at once.

    The image encoder runs once per image while people draw on it; the last 16 images are kept.

    Args:
        teacher: labels and draws masks.
        load: returns the image of a task by its ``data``; raises InputError or ServerError.
        is_blind: says by its ``data`` whether a task is to be labelled without help.
    """

    def __init__(
        self,
        teacher: Teacher,
        load: Callable[[Mapping[str, Any]], LoadedImage],
        is_blind: Callable[[Mapping[str, Any]], bool],
    ) -> None:
        self._teacher = teacher
        self._load = load
        self._is_blind = is_blind
        self._seen: OrderedDict[tuple[str, str], tuple[Any, tuple[int, int]]] = OrderedDict()

    def answer(self, data: Mapping[str, Any], drawn: Sequence[Any] = ()) -> dict[str, Any]:
        """Return a prediction: of the whole image, or the masks of the boxes that somebody has just drawn.

        Args:
            data: of the task.
            drawn: regions of Label Studio; where some are rectangles, the others are passed over.

        Raises:
            Declined: the task is blind.
            InputError: the photo is gone or cannot be read, nothing drawn is a rectangle, or the teacher draws no
                masks. ServerError: the photo cannot be fetched.
        """
        if self._is_blind(data):
            raise Declined("this photo is labelled without help, to measure the teacher: draw it by hand")
        if drawn:
            return self._masks(data, drawn)
        image = self._load(data)
        labelled = self._teacher.label([image.pixels])[0]
        names, model = self._teacher.ontology.names, self._teacher.model
        outcome = labelled_outcome(FileStamp(b"", 0, 0), image, labelled, names, model, "")
        height, width = image.pixels.shape[:2]
        return convert.prediction(outcome.annotations, (width, height))

    def _masks(self, data: Mapping[str, Any], drawn: Sequence[Any]) -> dict[str, Any]:
        segmenter = self._segmenter()
        embedding, (width, height) = self._embedding(segmenter, data)
        readable, refused = convert.read(drawn, (width, height))
        boxes = [one for one in readable if one.kind == "rectangle"]
        if not boxes:
            raise InputError(f"expected a box to draw a mask in: {refused[0].reason if refused else 'there is none'}")
        found = segmenter.segment_embedded(
            embedding, np.array([one.box_xyxy for one in boxes], dtype=np.float32), (height, width)
        )
        # A box whose mask comes out empty comes back as a box: what somebody drew is not lost.
        masks = [self._annotation(one, found, row) for row, one in enumerate(boxes)]
        return convert.prediction(masks, (width, height))

    def _segmenter(self) -> EmbeddingSegmenter:
        if self._teacher.segmenter is None:
            raise InputError("the teacher of the last run draws no masks: labelstill label with --segmenter")
        if not hasattr(self._teacher.segmenter, "embed"):
            raise InputError("this segmenter draws no masks on demand: label with --segmenter sam2 or bundled")
        return cast("EmbeddingSegmenter", self._teacher.segmenter)

    def _annotation(self, box: convert.Drawn, found: Segmented, row: int) -> Annotation:
        # The mask is a region of its own beside the box that was drawn, so it needs an id of its own.
        content = f"{self._teacher.model} {box.region_id} {box.box_xyxy}"
        score = float(found.scores[row])
        return Annotation(
            id=hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32],
            sha256="",
            class_name=box.class_name,
            box_xyxy=box.box_xyxy,
            provenance=Provenance("teacher", model=self._teacher.model, score=score, mask_score=score),
            rle=found.rles[row],
        )

    def _embedding(self, segmenter: EmbeddingSegmenter, data: Mapping[str, Any]) -> tuple[Any, tuple[int, int]]:
        # Both, since people can write the same id into tasks of two pictures.
        key = str(data.get(KEY)), str(data.get(IMAGE_CONTROL))
        if key not in self._seen:
            pixels = self._load(data).pixels
            height, width = pixels.shape[:2]
            self._seen[key] = segmenter.embed(pixels), (width, height)
            if len(self._seen) > KEPT_IMAGES:
                self._seen.popitem(last=False)
        self._seen.move_to_end(key)
        return self._seen[key]
