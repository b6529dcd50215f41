"""Images as curation sees them: the labels that a student would be taught, and what machines said besides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from labeling.core.records import Annotation, ImageState
from labeling.core.store import Store
from labeling.core.store_decisions import DecisionLedger

LABELLED_STATES: frozenset[ImageState] = frozenset({"prelabelled", "pushed", "reviewed", "reviewed-empty"})
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Scene:
    """One image.

    Attributes:
        sha256: the image.
        name: its first path as shown to people.
        size_wh: upright, in pixels.
        state: where it stands.
        labels: what a student would be taught: people's labels where they reviewed the image, else the teacher's, or
            a student's where the teacher has none.
        claims: what machines said that is no label itself.
    """

    sha256: str
    name: str
    size_wh: tuple[int, int]
    state: ImageState
    labels: tuple[Annotation, ...]
    claims: tuple[Annotation, ...]

    @property
    def reviewed(self) -> bool:
        """Say whether the labels are people's."""
        return self.state in ("reviewed", "reviewed-empty")


def scenes(store: Store, *, masks: bool = False) -> Iterator[Scene]:
    """Yield every image that has labels or was looked at for some, by sha256; few of them are in memory at once.

    Images that were skipped, quarantined, decided to be dropped, or never labelled are left out.

    Args:
        store: labels.db.
        masks: with the masks of labels and claims, which few need and which take most of the time and memory.
    """
    dropped = DecisionLedger(store).images("drop", whole=True)
    sizes = store.sizes()
    rows = store.rows("SELECT sha256, path, state FROM v_images WHERE sha256 IS NOT NULL ORDER BY sha256")
    known = [row for row in rows if row[2] in LABELLED_STATES and row[0] in sizes and row[0] not in dropped]
    for start in range(0, len(known), _AT_ONCE):
        some = known[start : start + _AT_ONCE]
        images = [sha256 for sha256, _, _ in some]
        labels = store.annotations_of_images(images, masks=masks)
        claims = store.annotations_of_images(images, "claims", masks=masks)
        for sha256, path, state in some:
            yield Scene(sha256, path, sizes[sha256], state, tuple(labels[sha256]), tuple(claims[sha256]))
