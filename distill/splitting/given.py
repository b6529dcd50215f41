"""A split that somebody made before, such as the published one of a data set: read from lists, kept as any other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import get_args

from labeling.core.errors import InputError
from labeling.core.store import Store
from labeling.core.store_splits import Part
from labeling.image_files import display

from ..split import Split, SplitSettings, write_split

_NOT_LISTED = "the lists do not name it"


def read_lists(folder: Path) -> dict[Part, list[str]]:
    """Return the lines of train.txt, and of val.txt and test.txt where they are there. Raises InputError."""
    found: dict[Part, list[str]] = {}
    for part in get_args(Part):
        path = folder / f"{part}.txt"
        try:
            found[part] = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except FileNotFoundError:
            if part == "train":
                raise InputError(f"{display(path)}: no such file: expected one file name per line") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{display(path)}: cannot be read as text: {error}") from error
    return found


def given_split(store: Store, lists: Mapping[Part, Sequence[str]], *, name: str = "default") -> Split:
    """Write a split into labels.db as lists give it; whether it leaks is for the audit to say.

    Args:
        store: labels.db.
        lists: by part, names of image files, with or without folders and endings.
        name: of the split; one of that name is replaced.

    Raises:
        InputError: a name that no image has, or several, or that stands in two lists.
    """
    images: dict[str, set[str]] = defaultdict(set)
    for image in store.iter_images():
        if image.sha256 is not None:
            for path in map(PurePath, image.paths):
                for called in (str(path), path.name, path.stem):
                    images[called].add(image.sha256)
    parts: dict[str, Part] = {}
    for part, listed in lists.items():
        for called in listed:
            found = (
                images.get(called) or images.get(PurePath(called).name) or images.get(PurePath(called).stem) or set()
            )
            if len(found) != 1:
                many = "none" if not found else f"{len(found)}"
                raise InputError(
                    f"{part}.txt names {called!r}: expected one image of that name in the project, there is {many}"
                )
            (sha256,) = found
            if parts.setdefault(sha256, part) != part:
                raise InputError(f"{part}.txt names {called!r}, and so does {parts[sha256]}.txt: an image has one part")
    if "train" not in parts.values():
        raise InputError("train.txt names no image: expected one file name per line")
    counts = Counter(parts.values())
    total = sum(counts.values())
    shares = (counts["train"] / total, counts["val"] / total, counts["test"] / total)
    left_out = sum(state not in ("quarantined",) and image not in parts for image, state in store.states().items())
    split = Split(
        name,
        SplitSettings(shares, by_time="never"),
        parts,
        {},
        {sha256: sha256 for sha256 in parts},
        {_NOT_LISTED: left_out} if left_out else {},
        ("the parts were given as lists, not drawn",),
    )
    write_split(store, split)
    return split
