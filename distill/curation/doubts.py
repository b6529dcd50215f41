"""What may be wrong with a label: one word for each kind of error, and one shape for every signal that says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from labeling.core.records import Annotation

Kind = Literal["missing", "spurious", "wrong class", "bad box", "duplicate box"]

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Doubt:
    """One signal says that one label may be wrong, or that one is missing.

    Attributes:
        sha256: the image.
        kind: what may be wrong.
        label: the doubted label; None where one is missing.
        claim: what should stand there instead, where somebody said so; never None where a label is missing.
        strength: how sure the signal is, in [0, 1]; comparable within one signal and kind.
        signal: short name of who says so, such as "teacher", "geometry", "looks", "mistakenness".
        reason: for people, one clause with the figure behind it, such as "the teacher is 0.93 sure of a pallet here".
    """

    sha256: str
    kind: Kind
    label: Annotation | None
    claim: Annotation | None
    strength: float
    signal: str
    reason: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """One row of the ranked list: a label, or an object that nobody labelled, and everything that speaks against it.

    Attributes:
        sha256: the image.
        kind: the likeliest error.
        label: the doubted label; None where one is missing.
        claim: what should stand there instead, where somebody said so.
        suspicion: how likely something is wrong, in [0, 1]; 0 where nothing speaks against the label.
        reasons: of every signal, the strongest first.
        signals: their names, in the same order.
    """

    sha256: str
    kind: Kind
    label: Annotation | None
    claim: Annotation | None
    suspicion: float
    reasons: tuple[str, ...]
    signals: tuple[str, ...]

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """Where to look, in pixels."""
        there = self.label or self.claim
        assert there is not None  # one of them always is
        return there.box_xyxy
