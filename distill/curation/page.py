"""The report of curation: one HTML file that answers the questions of the day, needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labeling.core.ontology import Ontology
from labeling.core.store import Store
from labeling.html import page
from labeling.images import LoadedImage
from labeling.pictures import FRAME_WH

from . import page_rows as rows
from . import page_words as words
from .doubts import KINDS
from .page_pictures import Album
from .plots import curve, heat, histogram, hours
from .readiness import NEXT, START_IMAGES, SUBTLE_IMAGES

if TYPE_CHECKING:
    from .findings import Findings

Photo = Callable[[str], LoadedImage | None]
"""Decodes the image of a sha256; None where no file holds it any more."""

SUSPECTS = 48

_TEMPLATE = Path(__file__).with_name("curation.html.j2")


def render(findings: Findings, store: Store, project_name: str, ontology: Ontology, photo: Photo) -> str:
    """Return the HTML. Photos are decoded one at a time; nothing is written.

    Args:
        findings: see ``findings.collect``.
        store: of the project.
        project_name: for people.
        ontology: of the project.
        photo: see ``Photo``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    album = Album(store, {name: row for row, name in enumerate(ontology.names)}, photo)
    first = [one for one in findings.suspects if one.suspicion >= words.PROBABLE]
    return page(
        _TEMPLATE,
        project=project_name,
        made_at=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0"),
        version=metadata.version("labelstill"),
        frame=FRAME_WH,
        headline=words.headline(findings),
        tiles=words.tiles(findings),
        remarks=words.remarks(findings),
        kinds=rows.kinds(first, KINDS),
        suspects=[album.suspect(one) for one in first[:SUSPECTS]],
        first=len(first),
        less=sum(0 < one.suspicion < words.PROBABLE for one in findings.suspects),
        duplicates=_duplicates(findings, album),
        balance=_balance(findings, ontology),
        coverage=_coverage(findings, album),
        plan=[words.sentence(step) for step in findings.balance.plan],
        next=NEXT,
        waiting=findings.coverage is None or findings.coverage.waiting > 0,
        notes=[words.sentence(note) for note in findings.notes],
        vanished=sorted(album.vanished),
    )  # fmt: skip


def _duplicates(findings: Findings, album: Album) -> Mapping[str, Any]:
    found = findings.duplicates
    return {
        "pairs": [album.pair(one) for one in found.pairs[:12]],
        "pairs_count": len(found.pairs),
        "threshold": found.threshold,
        "curve": curve(found.curve.thresholds, found.curve.pairs_above, found.threshold),
        "examples": rows.around([album.pair(one) for one in found.examples[:8]], found.threshold),
        "rests_on": words.sentence(f"the threshold is {found.threshold:.3f}: {found.curve.rests_on}"),
        "without": found.without,
        **rows.groups(found, album.name_of),
    }


def _balance(findings: Findings, ontology: Ontology) -> Mapping[str, Any]:
    found = findings.balance
    return {
        "classes": rows.classes(found, ontology),
        "matrix": rows.matrix(found, ontology),
        "plots": [one for one in _plots(findings) if one["plot"] is not None],
        "slices": rows.slices(found),
        "cameras": rows.cameras(found),
        "start": START_IMAGES,
        "ready": SUBTLE_IMAGES,
        "looked_at": len(found.brightness),
    }


def _plots(findings: Findings) -> list[dict[str, Any]]:
    found = findings.balance
    sizes = histogram(
        found.rel_areas * 100, "area of the box, % of the image", "Boxes by their share of the image.", log=True,
        noun="boxes",
    )  # fmt: skip
    light = histogram(
        found.brightness, "brightness, 0 black to 1 white", "Images by mean brightness.", kinds=rows.lights(found)
    )
    sharp = histogram(found.sharpness, "sharpness", "Images by sharpness.", log=True)
    return [
        {"title": "Where objects lie", "plot": heat(found.positions), "said": "Centres of all boxes in the image."},
        {"title": "How large objects are", "plot": sizes, "said": ""},
        {"title": "How bright images are", "plot": light, "said": ""},
        {"title": "How sharp images are", "plot": sharp, "said": "Further left is softer."},
        {"title": "When images were taken", "plot": hours(found.hours), "said": "As their EXIF says, where it does."},
    ]


def _coverage(findings: Findings, album: Album) -> Mapping[str, Any] | None:
    found = findings.coverage
    if found is None:
        return None
    return {
        "standing": words.coverage(found),
        "share": 100 * found.covered_share if found.reviewed and found.waiting else None,
        "gaps": [{"said": words.gap(gap), "shown": album.plain(gap.examples[:4])} for gap in found.gaps],
    }
