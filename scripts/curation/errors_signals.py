"""The signals of curation over one project, and the list that its ranking makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from errors_curves import Row

from distill.curation.doubts import Doubt
from distill.curation.photo_facts import observe
from distill.curation.ranking import rank
from distill.curation.scenes import scenes
from distill.curation.signals import SIGNALS
from labeling.core.store import Store
from labeling.images import load

_MAX_PIXELS = 100_000_000


def doubts_of(store: Store, paths: Mapping[str, Path]) -> dict[str, list[Doubt]]:
    """Return what each signal says; looks of photos are written into the store first."""
    observe(store, lambda sha256: load(paths[sha256], max_pixels=_MAX_PIXELS))
    return {name: list(signal(store)) for name, signal in SIGNALS.items()}


def suspects(store: Store, doubts: Iterable[Doubt]) -> list[Row]:
    """Return the ranked list, best first."""
    return [Row(suspect.label, suspect.claim) for suspect in rank(scenes(store), doubts)]
