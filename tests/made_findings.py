"""Findings made by hand, and the report on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from distill.balance import Balance, ClassBalance
from distill.curation.coverage import Coverage
from distill.curation.doubts import Kind, Suspect
from distill.curation.duplicates import Curve, Duplicates, Pair
from distill.curation.findings import Findings
from distill.curation.page import render
from distill.curation.slices import Slice
from labeling.core.records import Annotation
from labeling.core.store import Store
from labeling.images import load
from labeling.stored_photos import StoredPhotos
from tests import made_stores as made

HOSTILE = "<img src=x onerror=alert(1)>"
CLASSES = ("disc", HOSTILE, "ladder")


def images_of(store: Store) -> list[str]:
    """Return the images in the order of their names."""
    return [image.sha256 or "" for image in sorted(store.iter_images(), key=lambda image: image.paths)]


def suspect(label: Annotation | None, claim: Annotation | None, kind: Kind, suspicion: float, *reasons: str) -> Suspect:
    there = label or claim
    assert there is not None
    return Suspect(there.sha256, kind, label, claim, suspicion, reasons, ("teacher",) * len(reasons))


def findings(
    suspects: Sequence[Suspect] = (), duplicates: Duplicates | None = None, coverage: Coverage | None = None
) -> Findings:
    found = balance()
    return Findings(CLASSES, found.images, tuple(suspects), duplicates or repeated(), found, coverage, ())


def balance() -> Balance:
    """Return 200 images: 160 with discs, 40 with the hostile class, 8 of them with both; no ladder."""
    classes = (
        ClassBalance("disc", 160, 300, 160, 30, 150, 120, 60, 0.02, "enough to start", 0, 1.0),
        ClassBalance(HOSTILE, 40, 50, 10, 50, 0, 0, 0, 0.001, "too few", 110, 2.5),
        ClassBalance("ladder", 0, 0, 0, 0, 0, 0, 0, 0.0, "none", 150, 1.0),
    )
    none = np.zeros(0, np.float32)
    return Balance(
        images=200,
        empty_images=8,
        reviewed_images=170,
        boxes=350,
        classes=classes,
        together=np.array([[160, 8, 0], [8, 40, 0], [0, 0, 0]]),
        positions=np.zeros((16, 16)),
        rel_areas=none,
        brightness=none,
        sharpness=none,
        cameras=Counter({HOSTILE: 30, "Canon": 10}),
        hours=Counter(),
        slices=(Slice("dark", 12, 20, "brightness under 0.20", (), (12, 0, 0)),),
        remarks=("nearly all photos are from one camera",),
        plan=("collect 150 images of ladder: there is none yet",),
    )


def pictured(found: Findings) -> Findings:
    """Return findings whose photos were looked at, so that there is something to plot."""
    random = np.random.default_rng(0)
    brightness, sharpness, areas = (random.random(count).astype(np.float32) for count in (200, 200, 350))
    return replace(
        found,
        balance=replace(
            found.balance,
            positions=random.random((16, 16)),
            rel_areas=areas,
            brightness=brightness,
            sharpness=100 * sharpness,
            hours=Counter({9: 40}),
        ),
    )


def repeated(pairs: Sequence[Pair] = (), **parts: object) -> Duplicates:
    steps = np.linspace(0.5, 1, 100, dtype=np.float64)
    above = np.array([sum(pair.similarity >= step for pair in pairs) for step in steps])
    plain = Duplicates(None, {}, tuple(pairs), (), 0.88, Curve(steps, above, "it was given"), (), 0)
    return replace(plain, **parts)  # type: ignore[arg-type]


def html_of(store: Store, found: Findings, classes: Sequence[str] = CLASSES, project: str = "yard") -> str:
    photos = StoredPhotos(store, partial(load, max_pixels=10**8))
    return render(found, store, project, made.ontology(classes), lambda sha256: photos.photo(sha256, sha256))
