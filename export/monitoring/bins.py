"""What is counted of a stretch of frames: for each statistic, how many frames or objects fall into which cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .stretch import Stretch

Numbers = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

NUMERIC = ("light", "blur", "look", "objects", "sureness", "scores")
"""Statistics that are numbers: of a frame, scores of an object. ``look`` is how far the sketch is from the mean."""

STATISTICS = (*NUMERIC, "classes")

_CELLS = 10
_CLASSES = 30
"""So many of the most frequent classes have a cell of their own."""


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Cells that were learned from a reference.

    Attributes:
        edges: by numeric statistic, the inner borders of its cells, ascending: the deciles of the reference.
        mean, spread: (SKETCH,) of the sketches of the reference.
        cell_of_class: (classes,) the most frequent have one each, the others one, those never seen the last.
    """

    edges: dict[str, Numbers]
    mean: Numbers
    spread: Numbers
    cell_of_class: Counts

    @classmethod
    def learn(cls, stretch: Stretch, classes: int) -> Bins:
        """Return cells that hold a tenth of the frames each, as far as values differ."""
        mean = stretch.sketch.mean(axis=0, dtype=np.float64)
        spread = np.maximum(stretch.sketch.std(axis=0, dtype=np.float64), 1.0)  # one grey level
        made = cls({}, mean, spread, _cells_of_classes(np.bincount(stretch.class_ids, minlength=classes)))
        tenths = np.arange(1, _CELLS) / _CELLS
        for name, values in made.values(stretch).items():
            cuts = np.unique(np.quantile(values, tenths)) if len(values) else np.zeros(0)
            # A cut at the smallest value would leave nothing below it.
            made.edges[name] = cuts[cuts > values.min()] if len(values) else cuts
        return made

    @property
    def places(self) -> dict[str, slice]:
        """Where the cells of each statistic stand among all cells."""
        found, start = {}, 0
        for name in STATISTICS:
            cells = len(self.edges[name]) + 1 if name in NUMERIC else int(self.cell_of_class.max()) + 1
            found[name] = slice(start, start + cells)
            start += cells
        return found

    def values(self, stretch: Stretch) -> dict[str, Numbers]:
        """Return each numeric statistic, one value per frame or, for scores, per object."""
        apart = (stretch.sketch - self.mean) / self.spread
        frames = {
            "light": stretch.light,
            "blur": stretch.blur,
            "look": np.sqrt(np.mean(apart**2, axis=1)),
            "objects": stretch.count,
            "sureness": stretch.sure,
            "scores": stretch.scores,
        }
        return {name: np.asarray(values, dtype=np.float64) for name, values in frames.items()}

    def counts(self, stretch: Stretch, step: int) -> Counts:
        """Return the counts of each so many frames, (frames // step, cells); what is left at the end is left out."""
        steps = len(stretch) // step
        places = self.places
        width = places[STATISTICS[-1]].stop
        of_frame = np.arange(len(stretch)) // step
        of_object = stretch.frame_of_object // step
        cells = {
            name: np.searchsorted(self.edges[name], values, "right") for name, values in self.values(stretch).items()
        }
        cells["classes"] = self.cell_of_class[stretch.class_ids]
        total = np.zeros(steps * width, dtype=np.int64)
        for name in STATISTICS:
            rows = of_object if name in ("scores", "classes") else of_frame
            flat = (rows * width + places[name].start + cells[name])[rows < steps]
            total += np.bincount(flat, minlength=len(total))
        return total.reshape(steps, width)


def _cells_of_classes(seen: Counts) -> Counts:
    own = [int(k) for k in np.argsort(-seen, kind="stable")[:_CLASSES] if seen[k]]
    others = len(own)
    cells = np.where(seen > 0, others, others + 1)
    cells[own] = np.arange(others)
    return np.asarray(cells, dtype=np.int64)
