"""Which images belong together, so that a split must not part them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labeling.core.store import Store
from labeling.core.store_decisions import DecisionLedger
from labeling.video.ledger import FrameLedger

from ..curation.duplicates import Duplicates
from ..curation.photo_facts import PhotoFacts


class Kinship:
    """Images in groups that grow together with every link."""

    def __init__(self) -> None:
        from scipy.cluster.hierarchy import DisjointSet

        self._sets = DisjointSet()

    def link(self, images: Sequence[str]) -> None:
        """Put images, and all that belong to them already, into one group; images not seen before come last."""
        for image in images:
            self._sets.add(image)
            self._sets.merge(images[0], image)

    def kin(self) -> dict[str, str]:
        """Return the first image of its group for each image that was ever linked."""
        first: dict[str, str] = {}
        return {image: first.setdefault(self._sets[image], image) for image in self._sets}


def kinship(store: Store, duplicates: Duplicates, facts: Mapping[str, PhotoFacts]) -> Kinship:
    """Link near duplicates, frames, bursts, frames that show one object of a video, what people called duplicates, and
    pictures with equal thumbnails.

    Images that are no part of a split, such as those without labels, link others too.
    """
    found = Kinship()
    for group in duplicates.groups:
        found.link(group.members)
    for track in FrameLedger(store).groups():
        found.link(track)
    for one in DecisionLedger(store).all():
        if one.decision == "duplicate-of" and one.note:
            found.link([one.note, one.sha256])
    same: dict[bytes, str] = {}
    for sha256 in sorted(facts):
        thumbnail = facts[sha256].thumbnail
        # A thumbnail of one grey says nothing about the photo.
        if thumbnail.min() < thumbnail.max():
            found.link([same.setdefault(thumbnail.tobytes(), sha256), sha256])
    return found
