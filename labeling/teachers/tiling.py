"""Large images, piece by piece, behind the interfaces of detector and segmenter; smaller ones pass as they are.

supervision's InferenceSlicer cuts an image too, but merges by overlap alone, which joins neighbours or keeps the halves
of an object; it looks at one scale, and at one image at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from ..core import masks
from ..core.errors import BackendError
from ..core.ontology import Ontology
from ..core.records import Rle
from .interfaces import Detected, Detector, RgbImage, Segmented, Segmenter
from .memory import is_out_of_memory, release_memory
from .seams import joined
from .tiles import Look, Tiling, looks

if TYPE_CHECKING:
    import supervision as sv

_PIECES_PER_CALL = 8
"""Bounds memory: so many pieces, of one image or of several, share a call of the model."""

_MARGIN = 0.25
"""Share of a box's longer side that a segmenter sees around it."""

Piece = TypeVar("Piece")
Answer = TypeVar("Answer")


class _Calls:
    """Calls a model for a few pieces at a time, for fewer once memory has run out."""

    def __init__(self) -> None:
        self._fits = _PIECES_PER_CALL

    def __call__(
        self, call: Callable[[list[Piece]], Sequence[Answer]], pieces: Iterable[Piece]
    ) -> Iterator[tuple[Piece, Answer]]:
        """Yield each piece with its answer, in order."""
        waiting: list[Piece] = []
        for piece in pieces:
            waiting.append(piece)
            if len(waiting) >= self._fits:
                yield from self._answers(call, waiting)
                waiting = []
        yield from self._answers(call, waiting)

    def _answers(
        self, call: Callable[[list[Piece]], Sequence[Answer]], pieces: list[Piece]
    ) -> Iterator[tuple[Piece, Answer]]:
        start = 0
        while start < len(pieces):
            group = pieces[start : start + self._fits]
            try:
                answers = call(group)
            except Exception as error:
                if len(group) == 1 or not is_out_of_memory(error):
                    raise
                self._fits = len(group) // 2
            else:
                if len(answers) != len(group):
                    raise BackendError(f"the model answered {len(answers)} results for {len(group)} images")
                yield from zip(group, answers, strict=True)
                start += len(group)
                continue
            # Only here, with the error gone, nothing holds the tensors of the failed call any more.
            release_memory()


class TiledDetector:
    """A detector that looks at large images in tiles, at several scales; see ``tiles.looks`` and ``seams``.

    A call without a large image is the detector's own call.
    """

    def __init__(self, detector: Detector, tiling: Tiling, counted: float = 0.0) -> None:
        """Wrap a detector; ``counted`` is the score from which on boxes that are dropped are counted."""
        self._detector = detector
        self._tiling = tiling
        self._counted = counted
        self._calls = _Calls()

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        """Return one result per image, in order; see the Detector protocol."""
        large = [row for row, image in enumerate(images) if self._tiling.cuts(image)]
        if not large:
            return self._detector.detect(images, ontology, floor)
        rest = [row for row in range(len(images)) if row not in set(large)]
        found = self._detector.detect([images[row] for row in rest], ontology, floor) if rest else []
        if len(found) != len(rest):
            raise BackendError(f"the detector answered {len(found)} results for {len(rest)} images")
        results = dict(zip(rest, found, strict=True))
        results.update(zip(large, self._tiled([images[row] for row in large], ontology, floor), strict=True))
        return [results[row] for row in range(len(images))]

    def _tiled(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        def ask(pieces: list[tuple[int, Look, RgbImage]]) -> list[Detected]:
            return self._detector.detect([pixels for _, _, pixels in pieces], ontology, floor)

        seen: list[list[tuple[Look, sv.Detections]]] = [[] for _ in images]
        dropped: list[Counter[str]] = [Counter() for _ in images]
        features: list[npt.NDArray[np.float16] | None] = [None] * len(images)
        pieces = (
            (row, look, pixels) for row, image in enumerate(images) for look, pixels in looks(image, self._tiling.side)
        )
        for (row, look, _), detected in self._calls(ask, pieces):
            seen[row].append((look, detected.detections))
            dropped[row] += detected.dropped
            features[row] = detected.image_feature  # the last look shows the whole image
        results = []
        for image, looked, drops, feature in zip(images, seen, dropped, features, strict=True):
            height, width = image.shape[:2]
            detections, doubled = joined(looked, (width, height), self._counted)
            results.append(Detected(detections, feature, drops + doubled))
        return results


class TiledSegmenter:
    """A segmenter that sees a window around each box of a large image, not the whole image shrunk to its input.

    Boxes near each other share a window. A window larger than a tile is shrunk to one, and its masks are stretched.
    A call without a large image is the segmenter's own call.
    """

    def __init__(self, segmenter: Segmenter, tiling: Tiling) -> None:
        self._segmenter = segmenter
        self._tiling = tiling
        self._calls = _Calls()

    def segment(self, images: Sequence[RgbImage], boxes_xyxy: Sequence[npt.NDArray[np.float32]]) -> list[Segmented]:
        """Return one result per image, in order; see the Segmenter protocol."""
        large = [row for row, image in enumerate(images) if self._tiling.cuts(image) and len(boxes_xyxy[row])]
        if not large:
            return self._segmenter.segment(images, boxes_xyxy)
        none = np.zeros((0, 4), dtype=np.float32)
        rest = [none if row in large else boxes for row, boxes in enumerate(boxes_xyxy)]
        small = [row for row in range(len(images)) if row not in large]
        found = self._segmenter.segment([images[row] for row in small], [rest[row] for row in small]) if small else []
        results = dict(zip(small, found, strict=True))
        results.update((row, self._tiled(images[row], boxes_xyxy[row])) for row in large)
        return [results[row] for row in range(len(images))]

    def _tiled(self, image: RgbImage, boxes: npt.NDArray[np.float32]) -> Segmented:
        height, width = image.shape[:2]
        side = self._tiling.side
        rles: list[Rle | None] = [None] * len(boxes)
        scores = np.zeros(len(boxes), dtype=np.float32)
        feature = None

        def ask(pieces: list[tuple[Window, npt.NDArray[np.int64]]]) -> list[Segmented]:
            shown = [_shown(image, window, side) for window, _ in pieces]
            local = [_local(boxes[rows], window, one) for (window, rows), one in zip(pieces, shown, strict=True)]
            return self._segmenter.segment(shown, local)

        # The first window shows the whole image: its features are the image's, its mask counts for nothing.
        whole = ((0, 0, width, height), np.array([0]))
        pieces = [whole, *windows(boxes, (width, height), side)]
        for number, ((window, rows), segmented) in enumerate(self._calls(ask, pieces)):
            if number == 0:
                feature = segmented.image_feature
                continue
            for row, rle, score in zip(rows, segmented.rles, segmented.scores, strict=True):
                rles[row] = None if rle is None else masks.placed(rle, window, (height, width))
                scores[row] = score
        return Segmented(tuple(rles), scores, feature)


Window = tuple[int, int, int, int]
"""x0, y0, x1, y1 in whole pixels, half-open."""


def windows(
    boxes_xyxy: npt.NDArray[np.floating[Any]], size_wh: tuple[int, int], side: int
) -> list[tuple[Window, npt.NDArray[np.int64]]]:
    """Return windows that hold every box with a margin, each with the rows of its boxes; each box is in one window.

    A window is a square of ``side``, twice that, four times that ..., the smallest that holds the box, cut to the size
    of the image.

    Args:
        boxes_xyxy: (n, 4) pixels inside the image.
        size_wh: width and height of the image in pixels.
        side: of the smallest window, in pixels.
    """
    limits = np.array(size_wh)
    boxes = boxes_xyxy.astype(np.float64)
    margin = _MARGIN * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)[:, None]
    low = np.maximum(np.floor(boxes[:, :2] - margin), 0).astype(np.int64)
    high = np.minimum(np.ceil(boxes[:, 2:] + margin), limits).astype(np.int64)
    doublings = np.ceil(np.log2(np.maximum((high - low).max(axis=1, initial=1) / side, 1))).astype(np.int64)
    found = []
    for doubling in np.unique(doublings):
        extent = np.minimum(side << int(doubling), limits)
        waiting = np.flatnonzero(doublings == doubling)
        waiting = waiting[np.lexsort((low[waiting, 0], low[waiting, 1]))]
        while len(waiting):
            corner = np.minimum(low[waiting[0]], limits - extent)
            inside = ((low[waiting] >= corner) & (high[waiting] <= corner + extent)).all(axis=1)
            x, y, right, bottom = (int(edge) for edge in (*corner, *(corner + extent)))
            found.append(((x, y, right, bottom), waiting[inside]))
            waiting = waiting[~inside]
    return found


def _shown(image: RgbImage, window: Window, side: int) -> RgbImage:
    """Return the pixels of a window, its longer side ``side`` pixels at most."""
    x0, y0, x1, y1 = window
    part = image[y0:y1, x0:x1]
    shrink = side / max(part.shape[:2])
    if shrink >= 1:
        return np.ascontiguousarray(part)
    size = (max(1, round((x1 - x0) * shrink)), max(1, round((y1 - y0) * shrink)))
    shrunk: RgbImage = cv2.resize(part, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return shrunk


def _local(boxes: npt.NDArray[np.float32], window: Window, shown: RgbImage) -> npt.NDArray[np.float32]:
    """Return boxes of the image as boxes of what a window shows."""
    x0, y0, x1, y1 = window
    scale = np.array([shown.shape[1] / (x1 - x0), shown.shape[0] / (y1 - y0)] * 2)
    moved: npt.NDArray[np.float32] = ((boxes - np.array([x0, y0, x0, y0])) * scale).astype(np.float32)
    return moved
