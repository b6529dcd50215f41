"""What somebody says is in one image: people, a teacher, a student, a baseline; all in the same form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from labeling.core.records import Annotation, Rle


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The objects of one image.

    Attributes:
        sha256: the image.
        size_wh: upright, in pixels.
        boxes_xyxy: (n, 4) float64, absolute pixels of the upright image, half-open.
        class_ids: (n,) int64, positions in the ontology.
        scores: (n,) float64 in [0, 1]; 1 where people speak.
        rles: n masks of the whole image, or None where nobody drew any.
    """

    sha256: str
    size_wh: tuple[int, int]
    boxes_xyxy: npt.NDArray[np.float64]
    class_ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    rles: tuple[Rle | None, ...] | None = None

    @classmethod
    def of(
        cls,
        sha256: str,
        size_wh: tuple[int, int],
        annotations: Sequence[Annotation],
        class_ids: Mapping[str, int],
    ) -> Self:
        """Return labels in this form; those of classes without an id are left out.

        Args:
            sha256: the image.
            size_wh: upright, in pixels.
            annotations: of this image.
            class_ids: by name of the class.
        """
        known = [one for one in annotations if one.class_name in class_ids]
        scores = [1.0 if one.provenance.score is None else one.provenance.score for one in known]
        return cls(
            sha256,
            size_wh,
            np.array([one.box_xyxy for one in known], dtype=np.float64).reshape(-1, 4),
            np.array([class_ids[one.class_name] for one in known], dtype=np.int64),
            np.array(scores, dtype=np.float64),
            tuple(one.rle for one in known) if any(one.rle for one in known) else None,
        )

    def above(self, score: float) -> Objects:
        """Return the objects whose score reaches a threshold in [0, 1]."""
        rows = np.flatnonzero(self.scores >= score)
        rles = None if self.rles is None else tuple(self.rles[row] for row in rows)
        return Objects(self.sha256, self.size_wh, self.boxes_xyxy[rows], self.class_ids[rows], self.scores[rows], rles)

    def __len__(self) -> int:
        return len(self.class_ids)
