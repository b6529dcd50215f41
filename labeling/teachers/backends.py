"""The table of detectors and segmenters: where they are written, what they need, which weights they take."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..core.errors import BackendError, InputError, MissingExtraError
from ..core.ontology import Ontology
from ..core.store_rows import Machine, shown_path
from ..core.strict import did_you_mean
from .hub import cached_snapshot, fetch
from .student_runs import STUDENT_FILE, find_student

if TYPE_CHECKING:
    from .interfaces import Detector, Segmenter

STUDENT = "student"
"""The detector that was trained here."""

_BUNDLED = Path(__file__).resolve().parent.parent / "demo" / "teacher"
_WEIGHT_SUFFIXES = (".json", ".safetensors", ".txt")
_FILE_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".onnx", ".ckpt")


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to detect or to segment.

    Attributes:
        target: "module:Class", relative to this package, imported when it is built.
        extra: the extra of this distribution that brings its libraries.
        default_weights: hub id or folder; None where the user has to name the weights.
        licence: of the default weights and the library, for the report.
        default_score: smallest detector score kept where neither the user nor the class says otherwise.
        segmenter: the segmenter that follows this detector.
        options: fields of TeacherSpec that the class takes besides weights and device.
        version: counts changes of the adapter that change its answers.
    """

    target: str
    extra: str
    default_weights: str | None
    licence: str
    default_score: float = 0.0
    segmenter: str = "none"
    options: tuple[str, ...] = ()
    version: int = 1


DETECTORS: Mapping[str, Backend] = {
    "bundled": Backend(
        ".detectors.grounding_dino:GroundingDinoDetector",
        extra="teacher",
        default_weights=str(_BUNDLED / "detector"),
        licence="Apache-2.0",
        default_score=0.5,
        segmenter="bundled",
    ),
    "grounding-dino": Backend(
        ".detectors.grounding_dino:GroundingDinoDetector",
        extra="teacher",
        default_weights="IDEA-Research/grounding-dino-tiny",
        licence="Apache-2.0",
        default_score=0.3,
        segmenter="sam2",
    ),
    "ultralytics": Backend(
        ".detectors.ultralytics:UltralyticsDetector",
        extra="student",
        default_weights=None,
        licence="AGPL-3.0",
        default_score=0.25,
        segmenter="sam2",
        options=("class_names", "trust_weights"),
    ),
    STUDENT: Backend(
        ".detectors.ultralytics:UltralyticsDetector",
        extra="student",
        default_weights=None,
        licence="AGPL-3.0",
        default_score=0.25,
    ),
}

SEGMENTERS: Mapping[str, Backend] = {
    "bundled": Backend(
        ".segmenters.sam2:Sam2Segmenter",
        extra="teacher",
        default_weights=str(_BUNDLED / "segmenter"),
        licence="Apache-2.0",
    ),
    "sam2": Backend(
        ".segmenters.sam2:Sam2Segmenter",
        extra="teacher",
        default_weights="facebook/sam2.1-hiera-small",
        licence="Apache-2.0",
    ),
}


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


@dataclass(frozen=True, slots=True)
class WeightsRef:
    """Weights found on this machine.

    Attributes:
        name: short name for reports and provenance: the hub id, or the name of the file or folder.
        path: file or folder.
        files: what decides the answers of the model, to be hashed, sorted by name.
    """

    name: str
    path: Path
    files: tuple[Path, ...]


def detector_backend(spec: TeacherSpec) -> Backend:
    """Return the table row of the detector. Raises InputError for an unknown name."""
    return _row(DETECTORS, spec.detector, "detector")


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


def detector_weights(spec: TeacherSpec, *, download: bool = True) -> WeightsRef:
    """Return the detector's weights; see ``resolve_weights``, and for a student ``find_student``."""
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
        raise InputError(f"{name} has no weights of its own: name them with --weights FILE")
    path = Path(wanted).expanduser()
    if path.is_file():
        # All students have the same file name; what tells them apart is their run.
        named = path.resolve().parent.name if path.name == STUDENT_FILE else path.name
        return WeightsRef(_shown(named), path, (path,))
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
    """Load the detector of a spec."""
    backend = detector_backend(spec)
    if spec.class_names is not None and "class_names" not in backend.options:
        raise InputError(
            f"--class-names is for detectors with a fixed vocabulary, {spec.detector} reads the prompts: leave it out"
        )
    options = {option: getattr(spec, option) for option in backend.options}
    return cast("Detector", _build(backend, detector_weights(spec).path, device=spec.device, **options))


def build_segmenter(spec: TeacherSpec) -> Segmenter | None:
    """Load the segmenter of a spec; None where it has none."""
    _, backend = segmenter_backend(spec)
    ref = segmenter_weights(spec)
    if backend is None or ref is None:
        return None
    return cast("Segmenter", _build(backend, ref.path, device=spec.device))


def model_name(spec: TeacherSpec) -> str:
    """Return the name under which labels of this teacher are kept: "detector/weights", "+ segmenter/weights"."""
    names = [f"{spec.detector}/{detector_weights(spec).name}"]
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
    ref = detector_weights(spec)
    parts: list[object] = [_identity(spec.detector, detector_backend(spec), ref, hash_file)]
    if spec.class_names is not None:
        parts.append(hash_file(spec.class_names))
    name, backend = segmenter_backend(spec)
    segmenter = segmenter_weights(spec)
    if backend is not None and segmenter is not None:
        parts.append(_identity(name, backend, segmenter, hash_file))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _identity(name: str, backend: Backend, ref: WeightsRef, hash_file: Callable[[Path], str]) -> list[object]:
    files = [[file.name, hash_file(file.resolve())] for file in ref.files]
    # A file alone may be renamed: only its content counts.
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
