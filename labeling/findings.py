"""What a project's labels say, in one pass: counts, score histograms, a varied sample, the least sure boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .core.records import REVIEWED_STATES, TILED, Annotation, ImageRecord

_STEPS = 1000
"""Scores are counted in steps of 1/1000, so that memory does not grow with the number of objects."""


@dataclass(slots=True)
class ClassFindings:
    """What was found of one class.

    Attributes:
        objects: number of objects.
        images: number of images with at least one.
        scores: objects per score in steps of 1/1000; labels without a score are not counted here.
    """

    objects: int = 0
    images: int = 0
    scores: Counter[int] = field(default_factory=Counter)

    def add(self, score: float | None) -> None:
        """Count one object."""
        self.objects += 1
        if score is not None:
            self.scores[min(int(score * _STEPS), _STEPS - 1)] += 1

    @property
    def lowest(self) -> float | None:
        """The lowest score that was kept, within 1/1000; None where nothing has a score."""
        return min(self.scores) / _STEPS if self.scores else None

    @property
    def median(self) -> float | None:
        """The score that half of the objects reach, within 1/1000; None where nothing has a score."""
        seen = 0
        for step in sorted(self.scores):
            seen += self.scores[step]
            if 2 * seen >= self.scores.total():
                return step / _STEPS
        return None

    def histogram(self, bins: int) -> list[int]:
        """Return the number of objects in each of ``bins`` equal parts of [0, 1]."""
        counts = [0] * bins
        for step, count in self.scores.items():
            counts[step * bins // _STEPS] += count
        return counts


@dataclass(slots=True)
class Findings:
    """The answer of ``collect``.

    Attributes:
        classes: class name to what was found of it, in the order of the ontology.
        images: number of images with labels, empty ones included.
        empty: images on which nothing was found.
        copies: files that hold the same bytes as another one.
        reviewed: images on which people have spoken.
        tiled: images that were looked at in tiles.
        flags: objects per remark of the filters.
        sample: images for a contact sheet, by path.
        unsure: the machine's boxes with the lowest scores, lowest first, each with its image.
    """

    classes: dict[str, ClassFindings]
    images: int = 0
    empty: int = 0
    copies: int = 0
    reviewed: int = 0
    tiled: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    sample: list[ImageRecord] = field(default_factory=list)
    unsure: list[tuple[ImageRecord, Annotation]] = field(default_factory=list)

    @property
    def objects(self) -> int:
        """Number of objects of all classes."""
        return sum(found.objects for found in self.classes.values())


def collect(
    labelled: Iterable[tuple[ImageRecord, Sequence[Annotation]]],
    class_names: Sequence[str],
    sample_size: int,
    unsure_size: int,
) -> Findings:
    """Read the labels of a project once.

    Args:
        labelled: every labelled image with its labels; their order does not change the answer.
        class_names: in the order of the ontology.
        sample_size: at most this many images for the contact sheet, taken in turn from the images without objects and
            from every class, the rarest first; within a class by hash, which is as good as by chance and repeatable.
        unsure_size: at most this many least sure boxes.
    """
    findings = Findings({name: ClassFindings() for name in class_names})
    shelves: dict[str | None, list[ImageRecord]] = {}
    unsure: list[tuple[float, str, ImageRecord, Annotation]] = []
    for image, objects in labelled:
        findings.images += 1
        findings.empty += not objects
        findings.copies += len(image.paths) - 1
        findings.reviewed += image.state in REVIEWED_STATES
        findings.tiled += TILED in image.notes
        present = {annotation.class_name for annotation in objects}
        for annotation in objects:
            findings.flags.update(annotation.flags)
            findings.classes.setdefault(annotation.class_name, ClassFindings()).add(annotation.provenance.score)
            if annotation.provenance.score is not None:
                unsure.append((annotation.provenance.score, annotation.id, image, annotation))
        for name in present:
            findings.classes[name].images += 1
        for shelf_name in present or (None,):
            shelf = shelves.setdefault(shelf_name, [])
            shelf.append(image)
            if len(shelf) > 2 * sample_size:
                shelves[shelf_name] = _first(shelf, sample_size)
        if len(unsure) > 50 * unsure_size:
            unsure = sorted(unsure, key=lambda row: row[:2])[:unsure_size]
    rarity = {name: found.images for name, found in findings.classes.items()}
    order = sorted(shelves, key=lambda name: (name is not None, rarity.get(name or "", 0), name or ""))
    findings.sample = _in_turn([_first(shelves[name], sample_size) for name in order], sample_size)
    findings.unsure = [row[2:] for row in sorted(unsure, key=lambda row: row[:2])[:unsure_size]]
    return findings


def _first(shelf: Sequence[ImageRecord], size: int) -> list[ImageRecord]:
    return sorted(shelf, key=lambda image: image.sha256 or "")[:size]


def _in_turn(shelves: Sequence[Sequence[ImageRecord]], size: int) -> list[ImageRecord]:
    """Take one image from every shelf in turn until there are enough; an image is taken once."""
    taken: dict[str | None, ImageRecord] = {}
    waiting = [iter(shelf) for shelf in shelves]
    while waiting and len(taken) < size:
        still = []
        for shelf in waiting:
            image = next((image for image in shelf if image.sha256 not in taken), None)
            if image is not None and len(taken) < size:
                taken[image.sha256] = image
                still.append(shelf)
        waiting = still
    return sorted(taken.values(), key=lambda image: (image.paths, image.sha256 or ""))
