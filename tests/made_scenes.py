"""Scenes made by hand: labels of people and claims of a teacher, without a file or a store."""

from __future__ import annotations

from distill.curation.scenes import Scene
from labeling.core.records import Annotation, Provenance, Source
from tests.outcomes import digest

Box = tuple[float, float, float, float]


def label(class_name: str, box: Box, name: str = "", image: str = "a") -> Annotation:
    """Return what a person drew."""
    identity = digest(f"label {image} {name} {class_name} {box}")[:32]
    return Annotation(identity, digest(image), class_name, box, Provenance("human", annotator="ann"))


def claim(
    class_name: str, box: Box, score: float = 0.9, source: Source = "teacher", name: str = "", image: str = "a"
) -> Annotation:
    """Return what a machine said."""
    identity = digest(f"claim {image} {name} {class_name} {box} {source}")[:32]
    return Annotation(identity, digest(image), class_name, box, Provenance(source, model="m", score=score))


def scene(*labels: Annotation, claims: tuple[Annotation, ...] = (), image: str = "a", reviewed: bool = True) -> Scene:
    """Return an image of 640 x 480 pixels."""
    return Scene(digest(image), f"{image}.jpg", (640, 480), "reviewed" if reviewed else "prelabelled", labels, claims)
