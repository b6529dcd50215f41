"""Pictures of the report: doubted labels with both versions drawn, pairs of images side by side, and examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from labeling.core.records import Annotation
from labeling.core.store import Store
from labeling.images import LoadedImage
from labeling.pictures import Shown, picture, window_around

from .doubts import Kind, Suspect

if TYPE_CHECKING:
    from .duplicates import Pair


@dataclass(frozen=True, slots=True)
class ShownSuspect:
    """One doubted label.

    Attributes:
        shown: its picture; None where no file holds the image any more.
        name: of the image.
        kind: what may be wrong.
        said: the error as one clause.
        percent: suspicion.
        reasons: of every signal.
    """

    shown: Shown | None
    name: str
    kind: Kind
    said: str
    percent: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShownPair:
    """Two images side by side, each with its name; a picture is None where no file holds the image any more."""

    shown: tuple[tuple[str, Shown | None], tuple[str, Shown | None]]
    similarity: float


class Album:
    """Draws the images of one project.

    Attributes:
        vanished: names of those that could not be drawn.
    """

    def __init__(self, store: Store, class_ids: Mapping[str, int], photo: Callable[[str], LoadedImage | None]) -> None:
        self._store = store
        self._class_ids = class_ids
        self._photo = photo
        self.vanished: set[str] = set()

    def name_of(self, sha256: str) -> str:
        """Return the name of an image without its folders; the start of its hash where no file is known."""
        return self._path_of(sha256).rsplit("/", 1)[-1]

    def suspect(self, one: Suspect) -> ShownSuspect:
        """Draw a doubted label as a solid line, and what should stand there as a dashed one."""
        name, said, percent = self.name_of(one.sha256), _said(one), round(100 * one.suspicion)
        both, dashed = _both(one)
        shown = None
        loaded = self._load(one.sha256)
        if loaded is not None:
            height, width = loaded.pixels.shape[:2]
            window = window_around(_around([each.box_xyxy for each in both]), (width, height))
            drawn = picture(loaded.pixels, both, self._class_ids, window, dashed)
            # A dashed line under a solid one could not be seen.
            drawn = replace(drawn, marks=tuple(sorted(drawn.marks, key=lambda mark: mark.dashed)))
            shown = Shown(drawn, name, f"{percent}%", f"{name}: {one.kind}, {said}")
        return ShownSuspect(shown, name, one.kind, said, percent, one.reasons)

    def pair(self, one: Pair) -> ShownPair:
        """Draw two images without their labels."""
        first, second = (
            (self.name_of(sha256), next(self._plain([sha256]), None)) for sha256 in (one.first, one.second)
        )
        return ShownPair((first, second), one.similarity)

    def plain(self, images: Iterable[str]) -> list[Shown]:
        """Draw images without their labels; those that are gone are left out."""
        return list(self._plain(images))

    def _plain(self, images: Iterable[str]) -> Iterator[Shown]:
        for sha256 in images:
            loaded = self._load(sha256)
            if loaded is not None:
                name = self.name_of(sha256)
                yield Shown(picture(loaded.pixels, (), self._class_ids), name, "", name)

    def _load(self, sha256: str) -> LoadedImage | None:
        loaded = self._photo(sha256)
        if loaded is None:
            self.vanished.add(self._path_of(sha256))
        return loaded

    def _path_of(self, sha256: str) -> str:
        return self._store.names_of([sha256]).get(sha256) or sha256[:12]


def _both(one: Suspect) -> tuple[list[Annotation], set[str]]:
    """Return what is drawn, and the ids of what is dashed."""
    both = [one.label] if one.label is not None else []
    if one.claim is None:
        return both, set()
    # Who says that only the class is wrong may repeat the label under its own id.
    claim = replace(one.claim, id=f"{one.claim.id}-claim")
    return [*both, claim], {claim.id}


def _said(one: Suspect) -> str:
    label = one.label.class_name if one.label is not None else ""
    claim = one.claim.class_name if one.claim is not None else ""
    match one.kind:
        case "missing":
            return f"{claim} without a label"
        case "spurious":
            return f"no {label} here?"
        case "wrong class":
            return f"{label} → {claim}" if claim and claim != label else f"is it {label}?"
        case "bad box":
            return f"box of {label} does not fit"
        case "duplicate box":
            return f"{label} labelled twice" if claim in ("", label) else f"{label} and {claim} on one object"


def _around(boxes: Sequence[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)
