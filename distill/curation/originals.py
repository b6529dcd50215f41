"""Images by the names that people know them by, and which one of a group of near duplicates is kept."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePath

from labeling.core.errors import InputError
from labeling.core.store import Store

_SHORTEST_HASH = 8


class Names:
    """The images of one labels.db by name: their paths, the names of their files, or the beginning of their hash."""

    def __init__(self, store: Store) -> None:
        self._paths: dict[str, str] = {}
        self._images: dict[str, set[str]] = defaultdict(set)
        for sha256, path in store.rows("SELECT sha256, path FROM files WHERE sha256 IS NOT NULL ORDER BY path"):
            self._paths.setdefault(sha256, path)
            for name in (path, PurePath(path).name):
                self._images[_folded(name)].add(sha256)
        self._known = frozenset(sha256 for (sha256,) in store.rows("SELECT sha256 FROM images"))

    def __contains__(self, sha256: object) -> bool:
        return sha256 in self._known

    def name_of(self, sha256: str) -> str:
        """Return the shortest name by which ``find`` returns this image; its sha256 where none does."""
        path = self._paths.get(sha256, sha256)
        # Around a name in a tag spaces do not count.
        finding = (one for one in (PurePath(path).name, path) if self._images.get(_folded(one.strip())) == {sha256})
        return next(finding, sha256)

    def find(self, name: str) -> str:
        """Return the sha256 of the image that a name stands for; case does not matter.

        Raises:
            InputError: no image has that name, or more than one.
        """
        found = self._images.get(_folded(name), set())
        if not found:
            tail = f"/{_folded(name)}"
            found = set().union(*(ids for path, ids in self._images.items() if path.endswith(tail)))
        if not found and len(name) >= _SHORTEST_HASH:
            found = {sha256 for sha256 in self._known if sha256.startswith(name.lower())}
        if len(found) > 1:
            paths = " and ".join(sorted(self._paths.get(one, one) for one in found)[:2])
            raise InputError(f"{len(found)} images have the name {name!r}, such as {paths}: write the whole path")
        if not found:
            raise InputError(f"no image has the name {name!r}: write the name of its file")
        (image,) = found
        return image


class Originals:
    """What ``duplicate-of`` means, image by image."""

    def __init__(self, names: Names, kept: Mapping[str, str]) -> None:
        """Take the names, and the member to keep of the group of near duplicates that an image is in."""
        self._names = names
        self._kept = kept

    def of(self, sha256: str, name: str) -> str:
        """Return the sha256 of the image that this one is a duplicate of.

        Args:
            sha256: the image that is tagged.
            name: see ``Names.find``; "" stands for the image to keep of its near duplicates.

        Raises:
            InputError: nobody can know, or it would be the image itself.
        """
        if name:
            found = self._names.find(name)
            if found == sha256:
                raise InputError("names the image itself: write the name of the other one")
            return found
        if sha256 not in self._kept:
            raise InputError("this image has no near duplicates: write duplicate-of: NAME")
        if self._kept[sha256] == sha256:
            raise InputError("this image is the one to keep of its near duplicates: tag another, or write its NAME")
        return self._kept[sha256]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
