"""What a run has to do: decided from names, sizes, times and labels.db, without opening one unchanged file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path

from .core.ontology import Ontology
from .core.records import REVIEWED_STATES, ImageState
from .core.store import FileRow
from .image_files import FoundFile, Rejected, Scan, display
from .teachers.filter_settings import FilterSettings

#: Reasons of files that could not even be read; another try needs no change of the file.
_MAY_HAVE_PASSED = ("permission", "missing", "unreadable")
#: Reasons of images on which the teacher failed: the next run tries again.
TEACHER_FAILURES = ("teacher_failed", "out_of_memory")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read, and what can be left as it is.

    Attributes:
        files: to be read, in order: one file per image whose labels are missing or out of date, then what failed before
            and may succeed now, so that this does not move the batches of the others.
        rejected: files that cannot be read at all and are not recorded with this reason.
        current: sha256 of the images that need no labels: done for this key, or reviewed.
        unchanged: how many images of this search are done.
        reviewed: how many images of this search people have reviewed; they are left alone.
        quarantined: (path, reason) of the files of this search that are as bad as they were, path for display.
        vanished: photos of labels.db under the searched folders that are gone, path for display.
        gone: everything of labels.db under the searched folders that is gone, refused files too.
        left: how many files are to be read another time, because of the limit.
    """

    files: tuple[FoundFile, ...]
    rejected: tuple[Rejected, ...]
    current: frozenset[str]
    unchanged: int
    reviewed: int
    quarantined: tuple[tuple[str, str], ...]
    vanished: tuple[str, ...]
    gone: tuple[bytes, ...]
    left: int


def done_key(ontology: Ontology, fingerprint: str, scores: Sequence[float], filters: FilterSettings) -> str:
    """Return what an image is done for: classes and prompts, models and weights, scores and filters.

    Args:
        ontology: its hash counts.
        fingerprint: of the teacher, weights included.
        scores: smallest score kept, one per class.
        filters: those settings count that change what is kept.
    """
    kept = {name: value for name, value in asdict(filters).items() if name != "faint_share"}  # it changes no label
    thresholds = json.dumps([list(scores), kept], sort_keys=True)
    return f"{ontology.hash}-{fingerprint}-{hashlib.sha256(thresholds.encode()).hexdigest()[:16]}"


def make_plan(
    scan: Scan,
    known: Mapping[bytes, FileRow],
    done: Mapping[str, str],
    states: Mapping[str, ImageState],
    key: str,
    *,
    inputs: Sequence[Path] = (),
    limit: int | None = None,
    retry: bool = False,
) -> Plan:
    """Compare what lies in the folders with what labels.db knows.

    Args:
        scan: files found.
        known: labels.db's files by ``os.fsencode`` of their path.
        done: sha256 -> key for which the image was labelled.
        states: sha256 -> state of the image.
        key: what the images shall be done for.
        inputs: the folders that were searched, to tell which known files are gone.
        limit: read at most this many files.
        retry: read quarantined files again, because what counts as usable has changed.
    """
    reviewed = {sha for sha, state in states.items() if state in REVIEWED_STATES}
    current = frozenset(reviewed.union(sha for sha, done_for in done.items() if done_for == key))
    files: list[FoundFile] = []
    again: list[FoundFile] = []
    quarantined: list[tuple[str, str]] = []
    met: set[str | None] = set()
    seen: set[bytes] = set()
    for file in scan.files:
        name = os.fsencode(file.name)
        seen.add(name)
        row = known.get(name)
        if row is None or (row.size, row.mtime_ns) != (file.size, file.mtime_ns):
            files.append(file)
        elif row.status == "quarantined":
            if retry or _worth_another_try(row, file.path):
                again.append(file)
            else:
                quarantined.append((display(file.path), row.reason or ""))
        elif row.sha256 not in met:
            met.add(row.sha256)
            if row.sha256 not in current:
                files.append(file)
    rejected = []
    for entry in scan.rejected:
        name = os.fsencode(entry.path)
        seen.add(name)
        if name not in known or known[name].reason != rejection(entry):
            rejected.append(entry)
        quarantined.append((display(entry.path), rejection(entry)))
    gone = _gone(known.keys() - seen, scan, inputs)
    wanted = [*files, *again]
    return Plan(
        files=tuple(wanted[:limit]),
        rejected=tuple(rejected),
        current=current,
        unchanged=len(met & current - reviewed),
        reviewed=len(met & reviewed),
        quarantined=tuple(quarantined),
        vanished=tuple(display(Path(os.fsdecode(name))) for name in gone if known[name].status == "ok"),
        gone=gone,
        left=len(wanted[limit:]) if limit is not None else 0,
    )


def rejection(entry: Rejected) -> str:
    """Return the reason of a rejected file as it is recorded."""
    return f"{entry.reason}: {entry.detail}" if entry.detail else entry.reason


def _worth_another_try(row: FileRow, path: Path) -> bool:
    slug = (row.reason or "").partition(":")[0]
    return slug in TEACHER_FAILURES or (row.sha256 is None and slug in _MAY_HAVE_PASSED and os.access(path, os.R_OK))


def searched_folders(inputs: Sequence[Path]) -> tuple[bytes, ...]:
    """Return the resolved folders among the inputs, each as the beginning of the paths below it."""
    return tuple(os.path.join(os.fsencode(folder.resolve()), b"") for folder in inputs if folder.is_dir())


def _gone(unseen: Set[bytes], scan: Scan, inputs: Sequence[Path]) -> tuple[bytes, ...]:
    # What lies in a folder that could not be searched, or was passed over, may well be there.
    unsearched = (*(entry.path for entry in scan.rejected), *scan.passed_over)
    hidden = tuple(os.path.join(os.fsencode(path), b"") for path in unsearched)
    searched = searched_folders(inputs)
    return tuple(sorted(name for name in unseen if name.startswith(searched) and not name.startswith(hidden)))
