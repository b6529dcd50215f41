"""A split that somebody made before, such as the published one of a data set: read from lists, kept as any other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import get_args

from labeling.core.errors import InputError
from labeling.core.store import Store
from labeling.core.store_decisions import DecisionLedger
from labeling.core.store_splits import Part, SplitLedger
from labeling.image_files import display

from ..split import Split, SplitSettings, write_split
from .images import usable
from .remarks import counted

_NOT_LISTED = "the lists do not name it"
_WHY_NOT = {"new": "not labelled yet", "skipped": "skipped in review", "quarantined": "could not be read"}


def read_lists(folder: Path) -> dict[Part, list[str]]:
    """Return the lines of train.txt, and of val.txt and test.txt where they are there. Raises InputError."""
    found: dict[Part, list[str]] = {}
    for part in get_args(Part):
        path = folder / f"{part}.txt"
        try:
            found[part] = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
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
        ("the parts were given as lists, not drawn", *_unmeasured(store, parts), *_opened(store, parts, name)),
    )
    write_split(store, split)
    return split


def _unmeasured(store: Store, parts: Mapping[str, Part]) -> Iterator[str]:
    """Yield for val and test how many listed images have no truth, and why."""
    found, states = usable(store), store.states()
    reviewed = {image for image, known in zip(found.images, found.reviewed.tolist(), strict=True) if known}
    dropped = DecisionLedger(store).images("drop", whole=True)
    for part in ("val", "test"):
        listed = {image for image, where in parts.items() if where == part}
        why = Counter(
            "decided to be dropped" if image in dropped else _WHY_NOT.get(states[image], "not reviewed")
            for image in listed - reviewed
        )
        if why:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(why.items()))
            yield f"{why.total():,} of {counted(len(listed), 'image')} of {part} cannot be measured on: {reasons}"


def _opened(store: Store, parts: Mapping[str, Part], name: str) -> Iterator[str]:
    """Yield what lists mean for a test part that somebody has looked at."""
    if not store.rows("SELECT 1 FROM openings LIMIT 1"):
        return
    stored = SplitLedger(store).read(name)
    before = {one.sha256 for one in stored[1] if one.part == "test"} if stored else set()
    now = {image for image, part in parts.items() if part == "test"}
    if stored and before == now:
        return
    taught = sum(parts.get(image, "test") != "test" for image in before)
    teach = f"{counted(taught, 'image')} of it may teach or choose now, and " if taught else ""
    yield f"a test part was opened before: {teach}its earlier figures do not compare with those of these lists"
