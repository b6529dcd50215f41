"""The validation images as an export needs them: as frames, and with what people say about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from distill import speakers
from distill.asking import Asking, is_segmenter
from distill.evaluate import Evaluation, evaluate
from distill.objects import Objects

from .predictor import EdgePredictor
from .runtime import Frame, Model

_RESAMPLES = 2
"""Intervals are not asked for: all precisions see the same images."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What is there and what a model file sees, of any score, in the same images; masks say that it draws some."""

    truth: tuple[Objects, ...]
    found: tuple[Objects, ...]
    names: tuple[str, ...]
    masks: bool

    def evaluation(self) -> Evaluation:
        """Return how good that is, as students are measured."""
        return evaluate(self.truth, self.found, self.names, masks=self.masks, resamples=_RESAMPLES)


class ValImages:
    """The images of val; the test part is not looked at."""

    def __init__(self, asking: Asking) -> None:
        """Take who is asked about a run; val holds nothing that it has learned from, or this raises StateError."""
        asking.check_unseen(asking.run, "val")
        self._asking = asking

    def frames(self, count: int | None = None) -> Iterator[tuple[str, Frame]]:
        """Yield (name, BGR uint8 (h, w, 3)) of the images that can be read, at most so many, always the same ones."""
        asking = self._asking
        # The order of hashes says nothing about the images.
        images = sorted(asking.split.images("val", asking.fold))
        readable = ((one, photo) for one in images if (photo := asking.photos.photo(one)) is not None)
        for sha256, photo in islice(readable, count):
            yield self._name(sha256), np.ascontiguousarray(photo.pixels[:, :, ::-1])

    @cached_property
    def truth(self) -> dict[str, Objects]:
        """What people say, by name of the image; empty where nobody has spoken about any."""
        return self.truth_of(self._asking.names)

    def truth_of(self, names: Sequence[str]) -> dict[str, Objects]:
        """Return the same of these classes alone, numbered as they stand: a student may know other ones."""
        asking = self._asking
        images, _left_out = asking.with_truth("val")
        said = speakers.truth(asking.store, images, names, unreviewed=asking.unreviewed, masks=self._masks)
        return {self._name(one.sha256): one for one in said}

    def seen(self, model: Model) -> Seen | None:
        """Ask a model, as the device runs it; None where there is no image of which somebody knows the truth."""
        asking, by_image = self._asking, {one.sha256: one for one in self.truth.values()}
        if not by_image:
            return None
        predictor = EdgePredictor(model)
        said = speakers.student(predictor, list(by_image), asking.photos.photo, asking.names)
        truth = tuple(by_image[sha256] for sha256 in said.images)
        return Seen(truth, said.objects, asking.names, self._masks) if truth else None

    def _name(self, sha256: str) -> str:
        """Return what an image is called in what leaves this machine: no folder of it, and no other image's name."""
        return f"{Path(self._asking.store.names_of([sha256])[sha256]).name} ({sha256[:8]})"

    @property
    def _masks(self) -> bool:
        return is_segmenter(self._asking.run)
