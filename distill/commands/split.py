"""`labelstill split`: which images teach, which choose the threshold, which are kept for the one honest measurement."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from labeling.core.errors import InputError
from labeling.image_files import display
from labeling.project import Project
from labeling.stored_photos import StoredPhotos, loader
from labeling.tables import printable, table

from .telling import teller

if TYPE_CHECKING:
    from labeling.core.store import Store
    from labeling.core.store_splits import Part

    from ..split import Split, SplitSettings
    from ..splitting.audit import LeakAudit

PARTS: tuple[Part, ...] = ("train", "val", "test")
LEAKED = 3
"""Exit code where an image, a copy of it or a neighbour was found in two parts."""

_WITHOUT: dict[Part, str] = {
    "val": "labelstill train refuses without",
    "test": "a student can be measured on val alone, which chooses its threshold (labelstill evaluate --val)",
}

Rows = Sequence[tuple[str, int, int]]

_SHARES = re.compile(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)")


def run(
    project: Annotated[Path, typer.Option("--project", metavar="DIR", help="Folder of the project.")] = Path(),
    parts: Annotated[str, typer.Option("--parts", metavar="A/B/C", help="Shares of train, val and test.")] = "70/15/15",
    folds: Annotated[
        int | None,
        typer.Option("--folds", metavar="K", min=2, help="For small sets: K folds in place of one val part."),
    ] = None,
    time: Annotated[
        Literal["auto", "always", "never"],
        typer.Option("--time", help="Cut by time, the newest for test: auto, always or never."),
    ] = "auto",
    unreviewed: Annotated[
        bool, typer.Option("--unreviewed", help="Let images that nobody has reviewed into val and test.")
    ] = False,
    lists: Annotated[
        Path | None,
        typer.Option("--lists", metavar="DIR", help="Take train.txt, val.txt and test.txt from there; names of files."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Draw all anew; otherwise images keep the part they have.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draw.")] = 0,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Of the split, if there are several.")
    ] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Cut the labelled images into train, val and test so that nothing leaks from one into another.

    Copies, near duplicates, frames of a video and shots of a burst stay together, also mirrored or turned; strong crops
    are not looked for. What people decided in curation is followed. It exits with 3 if its own audit finds a leak.
    """
    from ..split import SplitSettings

    opened = Project.open(project)
    settings = SplitSettings(_shares(parts), seed=seed, folds=folds, by_time=time, unreviewed=unreviewed)
    with opened.lock(), opened.open_store() as store:
        found, audited = split_project(
            opened, store, settings, name, fresh=fresh, lists=lists, tell=teller(as_json)
        )  # fmt: skip
        rows: list[tuple[str, int, int]] = [(part, *_size(store, found.images(part))) for part in PARTS]
        if found.settings.folds is not None:
            rows[1:2] = [(f"fold {k}", *_size(store, found.images("val", k))) for k in range(found.settings.folds)]
        names = store.names_of([audited.closest.first, audited.closest.second]) if audited.closest else {}
    if as_json:
        print(json.dumps(_as_dict(found, audited, rows)))
    else:
        folder = shlex.quote(display(opened.root))
        print("\n".join(map(printable, [*_lines(found, audited, rows, names), _next(found, audited, folder)])))
    return LEAKED if audited.leaks else 0


def split_project(
    project: Project,
    store: Store,
    settings: SplitSettings,
    name: str = "default",
    *,
    fresh: bool = False,
    lists: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[Split, LeakAudit]:
    """Look at photos that were never looked at, split, and audit the split anew.

    Args:
        project: holds the limits of its photos.
        store: labels.db; the split is written into it.
        settings: see ``SplitSettings``.
        name: of the split.
        fresh: draw all anew.
        lists: folder of lists that say which image is where, in place of a draw.
        tell: called with lines for people.
    """
    from ..curation.duplicates import duplicates
    from ..curation.photo_facts import observe, photo_facts
    from ..split import make_split
    from ..splitting.audit import audit
    from ..splitting.given import given_split, read_lists

    tell("looking at photos")
    observe(store, StoredPhotos(store, loader(project.config.images)).photo)
    tell("comparing photos")
    repeated = duplicates(store)
    if lists is not None:
        found = given_split(store, read_lists(lists), name=name)
    else:
        facts = {one.sha256: one for one in photo_facts(store)}
        found = make_split(store, settings, name=name, duplicates=repeated, facts=facts, fresh=fresh)
    return found, audit(store, found, repeated)


def _size(store: Store, images: Sequence[str]) -> tuple[int, int]:
    """Return how many images and labels there are."""
    return len(images), sum(map(len, store.annotations_of_images(images).values()))


def _shares(text: str) -> tuple[float, float, float]:
    shares = _SHARES.fullmatch(text.strip())
    numbers = [float(share) for share in shares.groups()] if shares else []
    if not numbers or not numbers[0] or sum(numbers) <= 0:
        raise InputError(f"--parts is {text!r}: expected shares of train, val and test such as 70/15/15, train above 0")
    return numbers[0] / sum(numbers), numbers[1] / sum(numbers), numbers[2] / sum(numbers)


def _lines(found: Split, audited: LeakAudit, rows: Rows, names: dict[str, str]) -> list[str]:
    lines = table(("images", "labels"), [(part, (f"{images:,}", f"{labels:,}")) for part, images, labels in rows])
    lines += [f"left out: {count:,} {reason}" for reason, count in found.left_out.items()]
    lines += [f"note: {remark}" for remark in found.remarks]
    lines += [f"EMPTY: {part} has no image: {_WITHOUT[part]}: {_remedy(found, part)}" for part in _empty(found)]
    if audited.leaks:
        pairs = "1 pair or group" if audited.leaks == 1 else f"{audited.leaks:,} pairs or groups"
        lines.append(f"LEAK: {pairs} of copies or neighbours found in two parts; see --json")
    else:
        lines.append(
            "no copy, near duplicate or neighbour was found in two parts (mirrored and turned ones were looked for, "
            "strongly cropped ones were not)"
        )
    if audited.closest:
        first, second = names[audited.closest.first], names[audited.closest.second]
        lines.append(f"the most alike across parts, {audited.closest.similarity:.2f}: {first} and {second}")
    return lines


def _empty(found: Split) -> list[Part]:
    """Return which of val and test have no image; folds take the place of val."""
    return [part for part in _WITHOUT if not found.images(part) and (part == "test" or found.settings.folds is None)]


def _asked(found: Split, part: Part) -> bool:
    return found.settings.parts[PARTS.index(part)] > 0


def _remedy(found: Split, part: Part) -> str:
    if _asked(found, part):
        return "have images of other scenes reviewed (labelstill push, then labelstill pull), then split with --fresh"
    return f"draw anew with a share for {part} (--parts 70/15/15 --fresh), or name its images in the lists"


def _next(found: Split, audited: LeakAudit, folder: str) -> str:
    if audited.leaks:
        return f"next: labelstill split --json names them; drop copies in labelstill curate --project {folder}"
    name = "" if found.name == "default" else f" {shlex.quote(found.name)}"
    if "val" in _empty(found) and _asked(found, "val"):
        return f"next: labelstill push --project {folder}"
    if "val" in _empty(found):
        return f"next: labelstill split --parts 70/15/15 --fresh{name and f' --name{name}'} --project {folder}"
    more = name and f" --split{name}"
    more += "" if found.settings.folds is None else " --fold 0"
    return f"next: labelstill train{more} --project {folder}"


def _as_dict(found: Split, audited: LeakAudit, rows: Rows) -> dict[str, Any]:
    return {
        "name": found.name,
        "images": {part: images for part, images, _ in rows},
        "labels": {part: labels for part, _, labels in rows},
        "left_out": dict(found.left_out),
        "remarks": list(found.remarks),
        "empty": _empty(found),
        "audit": audited.to_json(),
    }
