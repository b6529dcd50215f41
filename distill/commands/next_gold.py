"""`labelstill next --gold`: the images that prompts, thresholds and scores are judged by, drawn by lot."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labeling.core.config import write_atomically
from labeling.core.errors import InputError
from labeling.image_files import display
from labeling.project import Project

if TYPE_CHECKING:
    from labeling.trust.gold_draw import Draw


def draw(project: Project, count: int, out: Path | None, *, as_json: bool) -> None:
    """Draw the gold set or make it larger, and say how much of it is reviewed and what to run next."""
    from labeling.trust.gold_draw import draw_gold

    from ..curation.duplicates import duplicates

    with project.lock(), project.open_store() as store:
        groups = [group.members for group in duplicates(store).groups]
        found = draw_gold(store, count, groups)
        labelled = any(run.verb == "label" for run in store.runs())
        paths = {sha256: files[0] for sha256 in found.images if (files := store.files_of(sha256))}
    if out is not None:
        write_paths(list(paths.values()), out.expanduser().absolute())
    command = _next(found, shlex.quote(display(project.root)), labelled=labelled)
    if as_json:
        said = {
            "images": [
                {"sha256": sha256, "path": display(paths[sha256]) if sha256 in paths else None}
                for sha256 in found.images
            ],
            "added": found.added,
            "reviewed": found.reviewed,
            "unlabelled": found.unlabelled,
            "of": found.of,
            "repeats": found.repeats,
            "spread_by": found.spread_by,
            "next": command,
        }
        print(json.dumps(said))
        return
    print("\n".join(_lines(found, count)))
    if out is not None:
        print(f"wrote {display(out.expanduser().absolute())}")
    print(f"next: {command}")


def _lines(found: Draw, count: int) -> list[str]:
    total = len(found.images)
    how = f"drawn by lot from {found.of:,} images, spread by {found.spread_by}"
    lines = [
        f"gold set: {total} images, {found.added} of them new; {how if found.spread_by else how.partition(',')[0]}"
    ]
    if found.spread_by is None:
        first = "; label first and it covers all kinds" if found.waiting else ""
        lines.append(f"note: no image has features, so the lot alone spreads it{first}")
    if found.repeats:
        lines.append(f"passed over {found.repeats} that show nearly the same as one of it")
    if total < count:
        lines.append(f"no more than {total} different images are there, {count} were asked for")
    lines.append(f"reviewed: {found.reviewed} of {total}")
    if not found.waiting:
        lines.append("every image is reviewed: calibrate and feasibility take them as they are")
    return lines


def _next(found: Draw, folder: str, *, labelled: bool) -> str:
    if found.unlabelled:
        return f"labelstill label PHOTOS --project {folder} ({found.unlabelled} of them have no labels to correct yet)"
    if found.reviewed < len(found.images):
        return f"labelstill push --only gold --project {folder}"
    # Nothing has labelled here, so labels.db knows no detector.
    named = "" if labelled else " --detector NAME --weights WEIGHTS (labelstill teachers lists the names)"
    return f"labelstill calibrate --project {folder}{named}"


def write_paths(paths: Sequence[Path], target: Path) -> None:
    """Write one path per line. Raises InputError for a folder, and for a name that no line can hold."""
    if target.is_dir():
        raise InputError(f"{target}: is a folder; name a file in it, such as {target / 'next.txt'}")
    odd = next((path for path in paths if not _is_plain(path)), None)
    if odd is not None:
        raise InputError(f"{display(odd)}: a list of lines cannot hold this name; take the names from --json instead")
    write_atomically(target, "".join(f"{path}\n" for path in paths))


def _is_plain(path: Path) -> bool:
    name = os.fsencode(path)
    try:
        return len(name.decode().splitlines()) == 1
    except UnicodeDecodeError:
        return False
