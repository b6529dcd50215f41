"""Several detectors behind one name: `--detector a,b --weights a=FILE,b=FOLDER` as the members of an ensemble."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..core.errors import InputError
from .backends import OPTIONS, STUDENT, TeacherSpec, detector_backend


def with_members(spec: TeacherSpec) -> TeacherSpec:
    """Return the spec with one member per detector where it names several with commas; otherwise as it is.

    Weights of an ensemble are NAME=WEIGHTS with commas; a member that is not named there has its own. Embeddings, class
    names and the like go to the members that take them.

    Raises:
        InputError: a detector that there is not, one twice, one alone, a student, weights of none of them, or a setting
            that none of them takes.
    """
    if "," not in spec.detector:
        return spec
    names = [name.strip() for name in spec.detector.split(",")]
    if "" in names or len(set(names)) < len(names):
        raise InputError(f"--detector {spec.detector!r}: expected different detectors with commas between them")
    if STUDENT in names:
        raise InputError(f"--detector {spec.detector!r}: a student labels alone; its labels stand beside a teacher's")
    weights = _weights(spec.weights, names)
    alone = replace(spec, segmenter="none", segmenter_weights=None, score=None, default_score=None)
    members = [replace(alone, detector=name, weights=weights.get(name)) for name in names]
    taken = [_with_its_options(member) for member in members]
    for option, (flag, why) in OPTIONS.items():
        if getattr(spec, option) is not None and all(getattr(member, option) is None for member in taken):
            raise InputError(f"{flag} {why}, none of {', '.join(names)} takes it: leave it out")
    return replace(spec, detector=",".join(names), members=tuple(taken))


def _with_its_options(member: TeacherSpec) -> TeacherSpec:
    takes = detector_backend(member).options
    others: dict[str, Any] = {option: None for option in OPTIONS if option not in takes}
    return replace(member, **others)


def _weights(text: str | None, names: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(",") if text else []:
        name, sign, weights = (piece.strip() for piece in part.partition("="))
        if not sign or not weights or name not in names:
            raise InputError(
                f"--weights {part!r}: with several detectors expected NAME=WEIGHTS, NAME one of {', '.join(names)}"
            )
        if name in found:
            raise InputError(f"--weights names {name} twice: {found[name]} and {weights}; keep one")
        found[name] = weights
    return found
