"""Published times of engines and whole loops on Jetsons, and what is predicted for the same."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from .budget import Prediction, Range, models, predict

UNSEEN = ("unpaired", "source")
"""Rules whose rows are left out of the fit and can be compared with a prediction all the same."""


@dataclass(frozen=True, slots=True)
class Row:
    """A time that somebody published.

    Attributes:
        source: see ``budget.sources``.
        batch: images at a time.
        ms: for one image.
        timed: "engine", or "end to end" for a whole loop.
        left_out: rule by which nothing was fitted on it, or empty.
    """

    source: str
    device: str
    model: str
    imgsz: int
    precision: str
    batch: int
    ms: float
    timed: str
    left_out: str

    @property
    def name(self) -> str:
        return f"{self.device} {self.model} {self.imgsz} {self.precision} ({self.source})"

    @property
    def comparable(self) -> bool:
        """Whether a prediction is for the same: one image, full power, a counted model, no newer table."""
        return self.left_out in ("", *UNSEEN) and self.model in models()


@cache
def published() -> tuple[Row, ...]:
    """Return all rows, those left out by a rule too."""
    text = files("export.budget_data").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        Row(**row | {"imgsz": int(row["imgsz"]), "batch": int(row["batch"]), "ms": float(row["ms"])})  # type: ignore[arg-type]
        for row in csv.DictReader(text.splitlines())
    )


def beside(found: Prediction) -> list[Row]:
    """Return the published rows of the very same device, model, size and precision."""
    asked = (found.device, found.model, found.imgsz, found.precision)
    return [row for row in published() if row.comparable and (row.device, row.model, row.imgsz, row.precision) == asked]


def predicted(row: Row, found: Prediction) -> Range:
    """Return the part of a prediction that a row is about."""
    return found.engine if row.timed == "engine" else found.end_to_end


def listed(row: Row) -> dict[str, Any]:
    """Return a row for JSON, with what is predicted for it; null where it cannot be compared."""
    if not row.comparable:
        return {**asdict(row), "predicted": None, "inside": None}
    span = predicted(row, predict(row.model, row.device, row.precision, row.imgsz))
    return {**asdict(row), "predicted": asdict(span), "inside": span.holds(row.ms)}
