"""From the name of a detector or segmenter to a loaded model: which weights, and what decides its answers."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..core.errors import BackendError, InputError, MissingExtraError
from ..core.ontology import Ontology
from ..core.store_rows import Machine, shown_path
from ..core.strict import did_you_mean
from .catalogue import DETECTORS, SEGMENTERS, STUDENT, Backend
from .hub import cached_snapshot, fetch
from .licences import require_accepted
from .student_runs import STUDENT_FILE, find_student

if TYPE_CHECKING:
    from .interfaces import Detector, Segmenter

__all__ = ["DETECTORS", "SEGMENTERS", "STUDENT", "Backend", "TeacherSpec", "WeightsRef"]

_WEIGHT_SUFFIXES = (".json", ".safetensors", ".txt", ".pth", ".pt")
_FILE_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".onnx", ".ckpt")


OPTIONS: Mapping[str, tuple[str, str]] = {
    "class_names": ("--class-names", "is for detectors with a fixed vocabulary"),
    "embeddings": ("--embeddings", "is for detectors whose text encoder is another model"),
    "exemplars": ("--exemplar", "is for detectors that learn from pictures"),
    "prompts_per_pass": ("--prompts-per-pass", "is for detectors that read captions"),
}
_PLAIN_OPTIONS = ("prompts_per_pass", "tile")

ENSEMBLE_SCORE = 0.5
"""Scores of an ensemble's members are bent so that the default of each becomes this."""


@dataclass(frozen=True, slots=True)
class TeacherSpec:
    """Which models label, as plain values.

    Attributes:
        detector: key of DETECTORS.
        weights: file, folder or hub id; None for the backend's own.
        class_names: file with the class names of a closed-vocabulary detector.
        segmenter: key of SEGMENTERS, "none", or None for the one that follows the detector.
        segmenter_weights: folder or hub id; None for the backend's own.
        score: smallest score kept for every class; None for the class's own, else the default.
        default_score: smallest score kept for classes without one of their own; None for the backend's.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        trust_weights: allow a pickled module as weights.
        embeddings: file with one embedding per prompt, for a detector whose text encoder is not here.
        exemplars: folder with one folder of pictures per class, for things that no word describes.
        prompts_per_pass: most prompts that share a forward pass; None for as many as fit.
        tile: side in pixels of the tiles that images are cut into; None cuts very large ones alone, 0 none.
        members: the detectors of an ensemble, whose ``detector`` is their names with commas; empty for one detector.
    """

    detector: str = "grounding-dino"
    weights: str | None = None
    class_names: Path | None = None
    segmenter: str | None = None
    segmenter_weights: str | None = None
    score: float | None = None
    default_score: float | None = None
    device: str = "auto"
    trust_weights: bool = False
    embeddings: Path | None = None
    exemplars: Path | None = None
    prompts_per_pass: int | None = None
    tile: int | None = None
    members: tuple[TeacherSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightsRef:
    """Weights found on this machine.

    Attributes:
        name: short name for reports and provenance: the hub id, or the name of the file or folder.
        path: file or folder.
        files: what decides the answers of the model, to be hashed; a weight file first, the rest sorted by name.
    """

    name: str
    path: Path
    files: tuple[Path, ...]


def detector_backend(spec: TeacherSpec) -> Backend:
    """Return the table row of the detector; of an ensemble one for all. Raises InputError for an unknown name."""
    if not spec.members:
        return _row(DETECTORS, spec.detector, "detector")
    rows = [detector_backend(member) for member in spec.members]
    first = next((row.segmenter for row in rows if row.segmenter != "none"), "none")
    return Backend(
        ".detectors.ensemble:EnsembleDetector",
        extra="ensemble",
        default_weights=None,
        licence="; ".join(dict.fromkeys(row.licence for row in rows)),
        default_score=ENSEMBLE_SCORE,
        segmenter=first,
    )


def segmenter_backend(spec: TeacherSpec) -> tuple[str, Backend | None]:
    """Return name and table row of the segmenter in force; the row is None for "none"."""
    name = spec.segmenter or detector_backend(spec).segmenter
    return (name, None) if name == "none" else (name, _row(SEGMENTERS, name, "segmenter", also="none"))


def machine(spec: TeacherSpec) -> Machine:
    """Return whose labels those of a spec are."""
    return "student" if spec.detector == STUDENT else "teacher"


def effective_scores(spec: TeacherSpec, ontology: Ontology) -> tuple[float, ...]:
    """Return the smallest score kept per class: the spec's, else the class's own, else the default."""
    if spec.score is not None and not 0 <= spec.score <= 1:
        raise InputError(f"score is {spec.score}: expected a number from 0 to 1")
    default = detector_backend(spec).default_score if spec.default_score is None else spec.default_score
    own = (entry.threshold for entry in ontology.classes)
    return tuple(spec.score if spec.score is not None else default if score is None else score for score in own)


def check_weights(spec: TeacherSpec) -> None:
    """Find all weights of a spec, or raise as ``require_accepted`` and ``resolve_weights`` do."""
    for member in spec.members or (spec,):
        require_accepted(member.detector, detector_backend(member))
        detector_weights(member)
    name, backend = segmenter_backend(spec)
    if backend is not None:
        require_accepted(name, backend)
    segmenter_weights(spec)


def detector_weights(spec: TeacherSpec, *, download: bool = True) -> WeightsRef:
    """Return the weights of one detector; see ``resolve_weights``, and for a student ``find_student``."""
    weights = spec.weights
    if spec.detector == STUDENT and weights is not None:
        weights = str(find_student(Path(), weights))
    return resolve_weights(spec.detector, detector_backend(spec), weights, download=download)


def segmenter_weights(spec: TeacherSpec, *, download: bool = True) -> WeightsRef | None:
    """Return the segmenter's weights, or None without a segmenter; see ``resolve_weights``."""
    name, backend = segmenter_backend(spec)
    if backend is None:
        return None
    hint = "--segmenter-weights FOLDER, or leave masks out with --segmenter none"
    return resolve_weights(name, backend, spec.segmenter_weights, download=download, hint=hint)


def resolve_weights(
    name: str, backend: Backend, weights: str | None, *, download: bool = True, hint: str = "--weights FOLDER"
) -> WeightsRef:
    """Find weights on this machine without importing torch; a hub id is looked up in the cache of the hub.

    Args:
        name: of the backend, for messages.
        backend: its table row.
        weights: file, folder or hub id; None for the backend's own.
        download: fetch a hub id that the cache does not have; never where HF_HUB_OFFLINE is set.
        hint: the flag that names a local folder, for messages.

    Raises:
        InputError: no weights named where the backend has none of its own.
        BackendError: nothing there; the message has the command that fetches them.
    """
    wanted = weights or backend.default_weights
    if wanted is None:
        raise InputError(f"{name} has no weights of its own: name them with {hint.replace('FOLDER', 'FILE')}")
    path = Path(wanted).expanduser()
    if path.is_file():
        # All students have the same file name; what tells them apart is their run.
        named = path.resolve().parent.name if path.name == STUDENT_FILE else path.name
        beside = sorted(path.parent / other for other in backend.beside if (path.parent / other).is_file())
        return WeightsRef(_shown(named), path, (path, *beside))
    if path.is_dir():
        return _folder(_shown(path.resolve().name) if weights else name, path)
    if path.exists():
        raise BackendError(f"weights {wanted} are neither a file nor a folder: name one of them, or a hub id")
    if not _is_hub_id(wanted):
        raise BackendError(f"weights {wanted} do not exist: expected a file, a folder or a hub id such as ORG/NAME")
    snapshot = cached_snapshot(wanted) or (fetch(wanted) if download else None)
    if snapshot is None:
        raise BackendError(
            f"weights {wanted} are not on this machine and cannot be fetched from here: "
            f"run 'hf download {wanted}' where there is a network, or name a local folder with {hint}"
        )
    return _folder(wanted, snapshot)


def build_detector(spec: TeacherSpec) -> Detector:
    """Load the detector of a spec.

    Raises:
        InputError: a setting that the detector does not have, or a licence that nobody has accepted.
        BackendError: see ``resolve_weights``. MissingExtraError: a library is not installed.
    """
    if spec.members:
        from .detectors.ensemble import EnsembleDetector, Member

        return EnsembleDetector(
            [
                Member(model_name(replace(one, segmenter="none")), build_detector(one), detector_backend(one))
                for one in spec.members
            ]
        )
    backend = detector_backend(spec)
    for option, (flag, why) in OPTIONS.items():
        if getattr(spec, option) is not None and option not in backend.options:
            raise InputError(f"{flag} {why}, {spec.detector} does not take it: leave it out")
    require_accepted(spec.detector, backend)
    options = {option: getattr(spec, option) for option in backend.options}
    return cast("Detector", _build(backend, detector_weights(spec).path, device=spec.device, **options))


def build_segmenter(spec: TeacherSpec) -> Segmenter | None:
    """Load the segmenter of a spec; None where it has none."""
    _, backend = segmenter_backend(spec)
    ref = segmenter_weights(spec)
    if backend is None or ref is None:
        return None
    require_accepted(segmenter_backend(spec)[0], backend)
    return cast("Segmenter", _build(backend, ref.path, device=spec.device))


def model_name(spec: TeacherSpec) -> str:
    """Return the name under which labels of this teacher are kept: "detector/weights", "+ segmenter/weights"."""
    names = [" & ".join(f"{one.detector}/{detector_weights(one).name}" for one in spec.members or (spec,))]
    ref = segmenter_weights(spec)
    if ref is not None:
        names.append(f"{segmenter_backend(spec)[0]}/{ref.name}")
    return " + ".join(names)


def teacher_fingerprint(spec: TeacherSpec, hash_file: Callable[[Path], str]) -> str:
    """Return 16 hex digits that change with anything that can change the answers of the models.

    Imports no torch and downloads nothing. Scores and filters are not part of it.

    Args:
        spec: the teacher.
        hash_file: path -> sha256 hex; the caller may remember unchanged files.
    """
    if spec.members:
        alone = [replace(one, segmenter="none") for one in spec.members]
        shared = [["ensemble", 1], *(teacher_fingerprint(one, hash_file) for one in alone)]
        return _digest([*shared, *_segmenter_parts(spec, hash_file)])
    ref = detector_weights(spec)
    parts: list[object] = [_identity(spec.detector, detector_backend(spec), ref, hash_file)]
    parts += [hash_file(file) for file in (spec.class_names, spec.embeddings) if file is not None]
    if spec.exemplars is not None:
        pictures = {file.relative_to(spec.exemplars): file for file in spec.exemplars.rglob("*") if file.is_file()}
        # Hidden files do not count, here as in find_exemplars.
        shown = sorted(path for path in pictures if not any(part.startswith(".") for part in path.parts))
        parts.append([[str(path), hash_file(pictures[path])] for path in shown])
    parts += [[name, value] for name in _PLAIN_OPTIONS if (value := getattr(spec, name)) is not None]
    return _digest([*parts, *_segmenter_parts(spec, hash_file)])


def _segmenter_parts(spec: TeacherSpec, hash_file: Callable[[Path], str]) -> list[object]:
    name, backend = segmenter_backend(spec)
    segmenter = segmenter_weights(spec)
    return [] if backend is None or segmenter is None else [_identity(name, backend, segmenter, hash_file)]


def _digest(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _identity(name: str, backend: Backend, ref: WeightsRef, hash_file: Callable[[Path], str]) -> list[object]:
    # A weight file may be renamed: only its content counts.
    files = [["" if file == ref.path else file.name, hash_file(file.resolve())] for file in ref.files]
    return [name, backend.version, files if len(files) > 1 else files[0][1]]


def _row(table: Mapping[str, Backend], name: str, kind: str, also: str | None = None) -> Backend:
    if name not in table:
        raise InputError(f"unknown {kind} {name!r}{did_you_mean(name, [*table, also] if also else table)}")
    return table[name]


def _build(backend: Backend, weights: Path, **options: Any) -> Any:
    module, _, attribute = backend.target.partition(":")
    try:
        return getattr(importlib.import_module(module, __package__), attribute)(weights, **options)
    except ModuleNotFoundError as error:
        library = (error.name or "a library").partition(".")[0]
        raise MissingExtraError(library, backend.extra) from error


def _folder(name: str, path: Path) -> WeightsRef:
    files = sorted(file for file in path.iterdir() if file.suffix in _WEIGHT_SUFFIXES and file.is_file())
    if not files:
        raise BackendError(
            f"weights {path}: expected a folder with config.json and a .safetensors file, neither is there"
        )
    return WeightsRef(name, path, tuple(files))


def _shown(name: str) -> str:
    return shown_path(os.fsencode(name))


def _is_hub_id(text: str) -> bool:
    parts = text.split("/")
    return len(parts) == 2 and not text.endswith(_FILE_SUFFIXES) and all(part and part[0] not in ".~" for part in parts)
