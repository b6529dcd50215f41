"""The permission to skip review, as it rests in labels.db: for whose labels, from which score on, on what grounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ..core.errors import InputError
from ..core.store import Store
from .sureness import Labeller, Sureness

_KEY = "permission to skip review"


@dataclass(frozen=True, slots=True)
class Terms:
    """What has to be shown.

    Attributes:
        precision: share of the labels of skipping images that are right, at least; in (0, 1).
        confidence: of the statement, in (0, 1).
        no_faint: images in which the teacher half saw something more never skip.
        min_iou: overlap from which a box that people moved was right, in (0, 1].

    Raises:
        InputError: a number is out of range.
    """

    precision: float = 0.95
    confidence: float = 0.95
    no_faint: bool = False
    min_iou: float = 0.5

    def __post_init__(self) -> None:
        for flag, value in (("--precision", self.precision), ("--confidence", self.confidence)):
            if not 0.5 <= value < 1:
                raise InputError(f"{flag} is {value}: expected a number from 0.5 to below 1, such as 0.95")
        if not 0 < self.min_iou <= 1:
            raise InputError(f"--iou is {self.min_iou}: expected a number above 0 and up to 1, such as 0.5")


@dataclass(frozen=True, slots=True)
class Permission:
    """Images of a labeller skip review when every label has at least this score.

    Attributes:
        machine: teacher or student.
        done_key: what its images are done for; changes with weights, prompts, thresholds and filters.
        level: lowest score.
        terms: what the audits have shown.
    """

    machine: str
    done_key: str
    level: float
    terms: Terms

    def is_of(self, by: Labeller) -> bool:
        """Say whether it speaks about the labels that are made now."""
        return (self.machine, self.done_key) == (by.machine, by.done_key)

    def covers(self, image: Sureness) -> bool:
        """Say whether an image with labels of that labeller skips review."""
        return image.key >= self.level and not (self.terms.no_faint and image.faint)


def read_permission(store: Store) -> Permission | None:
    """Return the permission that stands, if any."""
    text = store.recall(_KEY)
    if not text:
        return None
    kept = json.loads(text)
    return Permission(kept["machine"], kept["done_key"], kept["level"], Terms(**kept["terms"]))


def grant(store: Store, permission: Permission) -> None:
    """Write a permission in place of the one that stood."""
    store.remember(_KEY, json.dumps(asdict(permission)))


def withdraw(store: Store) -> None:
    """Take the permission away."""
    store.remember(_KEY, "")


def covered(permission: Permission, images: Mapping[str, Sureness]) -> frozenset[str]:
    """Return the images that skip review."""
    return frozenset(sha256 for sha256, image in images.items() if permission.covers(image))
