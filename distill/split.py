"""The leak-free split: who teaches, who chooses the threshold, who is kept for the one honest measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from labeling.core.errors import InputError, StateError
from labeling.core.store import Store
from labeling.core.store_decisions import DecisionLedger
from labeling.core.store_splits import Place, SplitLedger

from .curation.duplicates import Duplicates
from .curation.photo_facts import PhotoFacts
from .splitting.images import Usable, usable
from .splitting.kin import kinship
from .splitting.nearest import nearest_across, turned_across
from .splitting.place import Home, Placed, Rules, place
from .splitting.remarks import KEPT, counted, grown, remarks
from .splitting.timeline import Timeline, timeline
from .splitting.types import Split, SplitSettings

__all__ = ["Split", "SplitSettings", "make_split", "read_split", "write_split"]

_MOST_ROUNDS = 10


def make_split(
    store: Store,
    settings: SplitSettings,
    *,
    name: str = "default",
    duplicates: Duplicates,
    facts: Mapping[str, PhotoFacts],
    fresh: bool = False,
) -> Split:
    """Split the labelled images so that nothing leaks, and write the split into labels.db.

    Groups stay whole: near duplicates, also mirrored or turned by quarter turns, series, what people called duplicates,
    and any pair across parts that turns out to be as alike as duplicates. What an earlier draw kept together stays
    together, too, unless all is drawn anew. Parts get their shares of every class. Images that have a place keep it;
    new ones join their kin, or even out what is uneven; with a cut by time they go where their time is. An image that
    leaves for a while, to be labelled again, comes back to its place.

    Where new images link groups that were in different parts, all of them go where most of these images are. If a test
    part of the project was opened already, test stays as it is, and what is alike to it is left out.

    An image that taught as a pseudo-label stays in train once it is reviewed: students have learned from it, and one
    that is measured on what it learned from is no measure. ``fresh`` gives such images to val and test, too; students
    of before are then refused where they would be measured on them.

    Args:
        store: labels.db.
        settings: how.
        name: of the split.
        duplicates: what repeats, see ``curation.duplicates``.
        facts: of photos, by sha256; see ``curation.photo_facts``.
        fresh: forget where images were.

    Raises:
        StateError: nothing is labelled or reviewed, or the split was made with folds, or by time, and is to be
            continued without.
        InputError: there are more folds than groups of images.
    """
    stored = None if fresh else SplitLedger(store).read(name)
    before: dict[str, Home] = {}
    if stored:
        settings = _continued(stored[0], settings, name)
        before = {image: (part, fold) for image, (part, fold) in stored[0]["away"].items()}
        before |= {one.sha256: (one.part, one.fold) for one in stored[1]}
    found = usable(store)
    measured = found.reviewed | settings.unreviewed
    _check(found, bool(measured.any()))
    times = Timeline() if settings.by_time == "never" else timeline(store, found.images, facts, duplicates)
    if settings.by_time == "always" and not times.moments:
        raise StateError("by time: no photo says when it was taken, and none is a numbered frame: split without it")
    clear = bool(times.series) and settings.folds is None
    by_time = settings.by_time == "always" or (settings.by_time == "auto" and clear)
    rules = Rules(
        settings.shares,
        settings.seed,
        before,
        frozenset(DecisionLedger(store).images("split-test")),
        bool(store.rows("SELECT 1 FROM openings LIMIT 1")),
        times.moments if by_time else None,
    )
    groups = kinship(store, duplicates, facts)
    turned = _turned(found, facts, duplicates.threshold, groups.kin())
    for pair in turned:
        groups.link(pair)
    if stored:
        # What was found to belong together stays so: whether it would be found again depends on where it is now.
        for one in stored[1]:
            groups.link([one.kin, one.sha256])
    alike = partial(_alike_across, found, facts, duplicates.threshold)
    for _ in range(_MOST_ROUNDS):
        kin = groups.kin()
        placed = place(found, measured, kin, rules)
        if not (pairs := alike(placed)):
            break
        for pair in pairs:
            groups.link(pair)
    _check_folds(placed, settings)

    said = list(remarks(store.class_names(), found, measured, placed, settings.shares, kept=bool(before)))
    if stored and KEPT in said and set(said) - {KEPT} <= set(stored[0]["remarks"]):
        # Nothing came since, so what is uneven is not for want of a new draw.
        said = [one for one in said if one in stored[0]["remarks"]]
    if turned:
        said.append(f"{counted(len(turned), 'pair')} of images show the same mirrored or turned, and stay together")
    if by_time:
        said.append(f"cut by time, the newest images are the test: {times.series or 'as was asked for'}")
    elif times.series and settings.by_time == "auto":
        said.append(f"folds mix old and new images although {times.series}: figures may be too good")
    if rules.sealed and (new := grown(placed, found, before)):
        said.append(
            f"test was opened before and has {counted(new, 'image')} more now: its earlier figures do not compare"
        )
    if rules.sealed and fresh:
        said.append("a test part was opened before: its images may teach now, so earlier figures do not compare")
    if without := sum(found.images[row] not in facts for row in placed.homes):
        said.append(f"{counted(without, 'image')} not compared with others, for want of a photo that can be read")
    split = Split(
        name,
        replace(settings, by_time="always" if by_time else "never"),
        {found.images[row]: home[0] for row, home in sorted(placed.homes.items())},
        {found.images[row]: home[1] for row, home in sorted(placed.homes.items()) if home[1] is not None},
        {found.images[row]: kin.get(found.images[row], found.images[row]) for row in sorted(placed.homes)},
        dict(found.left_out + placed.left_out),
        tuple(said),
    )
    write_split(store, split, {image: home for image, home in before.items() if image not in split.parts})
    return split


def read_split(store: Store, name: str = "default") -> Split:
    """Return a split as it was made last. Raises StateError where there is none."""
    stored = SplitLedger(store).read(name)
    if stored is None:
        raise StateError(f"{store.path}: there is no split {name!r} yet: run labelstill split")
    facts, places = stored
    return Split(
        name,
        _settings(facts),
        {one.sha256: one.part for one in places},
        {one.sha256: one.fold for one in places if one.fold is not None},
        {one.sha256: one.kin for one in places},
        facts["left_out"],
        tuple(facts["remarks"]),
    )


def write_split(store: Store, split: Split, away: Mapping[str, Home] | None = None) -> None:
    """Write a split into labels.db in place of one of its name.

    Args:
        store: labels.db.
        split: whoever made it.
        away: where images were that are in no part now, for the day on which they come back.
    """
    facts = asdict(split.settings) | {"left_out": split.left_out, "remarks": split.remarks, "away": away or {}}
    places = (Place(sha256, part, split.folds.get(sha256), split.kin[sha256]) for sha256, part in split.parts.items())
    SplitLedger(store).write(split.name, facts, places)


def _settings(facts: Mapping[str, Any]) -> SplitSettings:
    train, val, test = facts["parts"]
    return SplitSettings((train, val, test), facts["seed"], facts["folds"], facts["by_time"], facts["unreviewed"])


def _continued(facts: Mapping[str, Any], settings: SplitSettings, name: str) -> SplitSettings:
    stored = _settings(facts)
    by_time = stored.by_time if settings.by_time == "auto" else settings.by_time
    for what, was, asked in (("folds", stored.folds, settings.folds), ("by time", stored.by_time, by_time)):
        if was != asked:
            raise StateError(
                f"the split {name!r} was made with {what}: {was or 'none'}, asked for is {asked or 'none'}: draw it "
                "anew with --fresh, or give another --name"
            )
    return replace(settings, by_time=by_time)


def _check(found: Usable, measurable: bool) -> None:
    if not found.images:
        raise StateError("no image is labelled: run labelstill label first")
    if not measurable:
        raise StateError(
            f"none of {len(found.images):,} labelled images is reviewed, so nothing can be measured: review some "
            "(labelstill push, then labelstill pull), or let machine labels be measured against with --unreviewed"
        )


def _check_folds(placed: Placed, settings: SplitSettings) -> None:
    empty = settings.shares.keys() - set(placed.homes.values())
    if settings.folds is not None and any(home[1] is not None for home in empty):
        raise InputError(
            f"folds is {settings.folds}: there are too few groups of images that could be measured on for so many: "
            "give fewer folds, or review more"
        )


def _turned(
    found: Usable, facts: Mapping[str, PhotoFacts], threshold: float, kin: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return pairs of images of different groups that are as alike as duplicates once one is mirrored or turned."""
    images = [image for image in found.images if image in facts]
    if not images:
        return []
    number: dict[str, int] = {}
    groups = [number.setdefault(kin.get(image, image), len(number)) for image in images]
    thumbnails = np.stack([facts[image].thumbnail for image in images])
    pairs, similarity = turned_across(thumbnails, np.array(groups, dtype=np.int64))
    return [(images[first], images[second]) for first, second in pairs[similarity >= threshold].tolist()]


def _alike_across(
    found: Usable, facts: Mapping[str, PhotoFacts], threshold: float, placed: Placed
) -> list[tuple[str, str]]:
    """Return pairs of images in different homes that are as alike as duplicates."""
    number = {home: place for place, home in enumerate(sorted({*placed.homes.values()}, key=str))}
    rows, homes = [], []
    for group in placed.groups.values():
        known = [row for row in group if row in placed.homes and found.images[row] in facts]
        # Images that only teach go with the fold of their kin.
        home = max((number[placed.homes[row]] for row in known if placed.homes[row][1] is not None), default=None)
        rows += known
        homes += [number[placed.homes[row]] if home is None else home for row in known]
    order = np.argsort(rows, kind="stable")
    thumbnails = np.array([facts[found.images[rows[place]]].thumbnail for place in order], dtype=np.uint8)
    if not len(order):
        return []
    pairs, similarity = nearest_across(thumbnails, np.array(homes, dtype=np.int64)[order])
    return [
        (found.images[rows[order[first]]], found.images[rows[order[second]]])
        for first, second in pairs[similarity >= threshold].tolist()
    ]
