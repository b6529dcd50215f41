"""When photos were taken, and whether they are a series of which the newest must be the test."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from labeling.core.store import Store

from ..curation.duplicates import Duplicates
from ..curation.photo_facts import PhotoFacts

_FEWEST_IMAGES = 20
_NEARLY_ALL = 0.95
_FEWEST_DAYS = 3
_LARGEST_DAY = 0.5
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The order in which photos were taken.

    Attributes:
        moments: the later, the larger, by sha256: seconds, or the number of a frame; photos may be missing.
        series: why the photos are a series, one clause; empty where that is not clear.
    """

    moments: Mapping[str, float] = field(default_factory=dict)
    series: str = ""


def timeline(store: Store, images: Sequence[str], facts: Mapping[str, PhotoFacts], duplicates: Duplicates) -> Timeline:
    """Return the order of photos, by the clock of their camera or, where more of them have one, by frame number.

    They count as a series in two cases only. A wrong "yes" costs the balance of the classes, and a wrong "no" is
    softened by the groups, which keep frames and bursts together anyway; so both need at least 20 photos, and:

    - nearly all (95 %) say when they were taken, nearly all of those came from one camera, and they were taken on three
      days or more, no day having more than half of them: a camera that stays where it is sees tomorrow what it was not
      trained on, and a shuffled test would not show that;
    - nearly all are frames of one numbered run, and at least half of them look like the frame before (see
      ``curation.groups``): one video. Numbers alone prove nothing, data sets are numbered too.

    Args:
        store: labels.db, for the paths.
        images: sha256 each.
        facts: by sha256.
        duplicates: tell which frames look like the one before.
    """
    seen = [facts[sha256] for sha256 in images if sha256 in facts]
    taken = {one.sha256: moment for one in seen if (moment := _moment(one.taken_at)) is not None}
    frames = _frames(store, images)
    if len(frames) > len(taken):
        following = {one for group in duplicates.groups if group.kind == "sequence" for one in group.members}
        clear = _enough(len(frames), len(images)) and len(following & frames.keys()) >= len(frames) / 2
        return Timeline(frames, "they are the frames of one video" if clear else "")
    cameras = Counter(one.camera for one in seen if one.camera and one.sha256 in taken)
    days = Counter(datetime.fromtimestamp(moment, UTC).date() for moment in taken.values())
    clear = (
        _enough(len(taken), len(images))
        and _enough(max(cameras.values(), default=0), len(taken))
        and len(days) >= _FEWEST_DAYS
        and max(days.values()) <= _LARGEST_DAY * len(taken)
    )
    return Timeline(taken, f"they were taken by one camera on {len(days)} days" if clear else "")


def _enough(some: int, of: int) -> bool:
    return of >= _FEWEST_IMAGES and some >= _NEARLY_ALL * of


def _moment(taken_at: str | None) -> float | None:
    try:
        # The camera's own clock: only differences count, so any zone will do.
        return datetime.fromisoformat(taken_at).replace(tzinfo=UTC).timestamp() if taken_at else None
    except ValueError:
        return None


def _frames(store: Store, images: Sequence[str]) -> dict[str, float]:
    """Return the numbers of the longest run of files that differ in nothing but one number."""
    runs: dict[tuple[bytes, str, str], dict[str, float]] = defaultdict(dict)
    for sha256, path in store.rows_of("SELECT sha256, path_bytes FROM files WHERE sha256 IN ({})", images):
        folder, name = os.path.split(path)
        stem, suffix = os.path.splitext(os.fsdecode(name))
        if numbered := _NUMBERED.fullmatch(stem):
            run = runs[folder, numbered[1], numbered[3] + suffix]
            run[sha256] = min(float(numbered[2]), run.get(sha256, float("inf")))
    return max(runs.values(), key=len, default={})
