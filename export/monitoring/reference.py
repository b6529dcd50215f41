"""What the world of a device looks like as long as nothing has drifted: learned from frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .bins import NUMERIC, Bins, Counts, Numbers
from .correlation import correlation_time
from .stretch import Stretch, joined

STEPS = 4
"""Blocks begin at every so-manieth part of a block."""

MOST_FRAMES = 50_000
"""Of a longer reference every second frame is kept, or every fourth, and so on."""

BLOCKS = 60
"""Fewer blocks say too little about how much the world changes by itself."""

BLOCKS_PER_WINDOW = 4

_CYCLE = 12
"""A sine has so many times the correlation time as its period, as ``correlation_time`` sums it up."""

_FIRST_LOOK = 2000
_TIMES = 10
"""A block is so many times as long as frames remember, so that one says little about the next."""

_SHORTEST = 20
_FREQUENT = 5
_KEPT_DRAWS = 32


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Counts of a reference, as a whole and by blocks of consecutive frames.

    Attributes:
        model: sha256 of the weights whose objects were counted.
        names: its classes.
        bins: what was counted.
        stride: every so-manieth frame was looked at; windows have to do the same.
        memory: how long frames remember each other, in frames looked at; see ``correlation_time``.
        block: frames looked at per block, a multiple of STEPS.
        blocks: (n, cells) counts of blocks, which overlap.
        total: (cells,) counts of the whole.
        means: (len(NUMERIC),) of the numeric statistics.
        classes: (classes,) objects.
        frames: looked at.
        since, until: unix seconds of the first and the last.
        taken: by key of the log, how many of its frames belong to the reference.
        slow: whether something in it comes and goes too slowly for blocks, as day and night do, and is taken as usual;
            blocks are a share of the reference then, and windows even parts of it.
        precisions: of the logs it was learned from.
        devices: likewise, in words.
    """

    model: str
    names: tuple[str, ...]
    bins: Bins
    stride: int
    memory: float
    block: int
    blocks: Counts
    total: Counts
    means: Numbers
    classes: Counts
    frames: int
    since: float
    until: float
    taken: Mapping[str, int]
    slow: bool = False
    precisions: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()

    def window(self, wanted: int) -> int:
        """Return how many frames to look at for a window of so many frames of the log: whole blocks, enough of them.

        Of a slow reference it is an even part, about as long as what comes and goes in it.
        """
        if self.slow:
            parts = min(self.frames * self.stride // wanted, round(self.frames / (_CYCLE * self.memory)))
            shortest = -(-wanted // (self.stride * self.block)) if wanted > self.frames * self.stride else 1
            return max(self.frames // self.block // max(parts, 1), shortest) * self.block
        blocks = max(BLOCKS_PER_WINDOW, -(-wanted // (self.stride * self.block)))
        unit = 1
        while blocks > _KEPT_DRAWS * unit:  # so that the draws of a long window can be halved until they are few
            unit *= 2
        return -(-blocks // unit) * unit * self.block

    def needed(self, wanted: int) -> int:
        """Return how many frames of the log a reference needs for windows of so many frames."""
        windows = 1 if self.slow else 2
        return max(BLOCKS * self.block, windows * self.window(wanted)) * self.stride

    def enough(self, wanted: int) -> bool:
        """Say whether the reference is long enough for windows of so many frames of the log."""
        return self.frames * self.stride >= self.needed(wanted)


def learn(
    parts: Iterable[Stretch],
    taken: Mapping[str, int],
    *,
    model: str,
    names: tuple[str, ...],
    window: int,
    all_of_it: bool = False,
) -> Reference | None:
    """Take frames until they are enough for windows of a length, or all of them; None where there is none.

    Args:
        parts: the frames; what is left of the iterator was not used.
        taken: how many frames of each log were read; may grow while ``parts`` is read.
        model: whose objects the frames hold.
        names: its classes.
        window: frames of the log per window.
        all_of_it: do not stop early, and take as usual what comes and goes in them, however slowly.
    """
    kept: list[Stretch] = []
    stride, seen, look_at = 1, 0, max(_FIRST_LOOK, 2 * window)
    for part in parts:
        kept.append(part[-seen % stride :: stride])
        seen += len(part)
        while sum(map(len, kept)) > MOST_FRAMES:
            kept, stride = [joined(kept)[::2]], stride * 2
        if not all_of_it and seen >= look_at:
            found = _counted(joined(kept), stride, taken, model, names)
            if found.enough(window):
                return found
            look_at = max(found.needed(window), seen + seen // 4)
    if not seen:
        return None
    found = _counted(joined(kept), stride, taken, model, names)
    if all_of_it and not found.enough(window):
        slow = _counted(joined(kept), stride, taken, model, names, slow=True)
        return slow if slow.enough(window) else found
    return found


def _counted(
    stretch: Stretch,
    stride: int,
    taken: Mapping[str, int],
    model: str,
    names: tuple[str, ...],
    *,
    slow: bool = False,
) -> Reference:
    bins = Bins.learn(stretch, len(names))
    values = bins.values(stretch)
    classes = np.bincount(stretch.class_ids, minlength=len(names))
    memory = _memory(stretch, values, classes)
    if slow:
        block = max(_SHORTEST, len(stretch) // BLOCKS // STEPS * STEPS)
    else:
        block = STEPS * int(np.ceil(max(_SHORTEST, _TIMES * memory) / STEPS))
    steps = bins.counts(stretch, block // STEPS)
    sums = np.concatenate([np.zeros((1, steps.shape[1]), dtype=np.int64), np.cumsum(steps, axis=0)])
    return Reference(
        model=model,
        names=names,
        bins=bins,
        stride=stride,
        memory=memory,
        block=block,
        blocks=sums[STEPS:] - sums[:-STEPS],
        total=bins.counts(stretch, len(stretch))[0],
        means=np.array([values[name].mean() if len(values[name]) else np.nan for name in NUMERIC]),
        classes=classes,
        frames=len(stretch),
        since=float(stretch.time[0]),
        until=float(stretch.time[-1]),
        taken=dict(taken),
        slow=slow,
    )


def _memory(stretch: Stretch, values: Mapping[str, Numbers], classes: Counts) -> float:
    """Return the longest correlation time of all that is counted."""
    series = [values[name] for name in NUMERIC if name != "scores"]
    scores = np.bincount(stretch.frame_of_object, stretch.scores, minlength=len(stretch))
    series.append(scores / np.maximum(stretch.count, 1))
    for class_id in np.argsort(-classes, kind="stable")[:_FREQUENT]:
        of_class = stretch.frame_of_object[stretch.class_ids == class_id]
        series.append(np.bincount(of_class, minlength=len(stretch)).astype(np.float64))
    return max(correlation_time(one) for one in series)
