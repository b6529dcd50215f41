"""Fit `labelstill budget` on published rows, print every row with its leave-one-out error, write the coefficients.

Usage: python scripts/edge/fit_budget.py

Rows, sources and the rules by which rows are left out lie in export/budget_data. The fit is on logarithms, with a
Huber-like loss so that no row has to be dropped to protect the rest, and drawn weakly to round starting values, which
is what a device or precision with few rows falls back to. Three errors are reported: each row predicted from all
others; each source from all other sources; each device-and-precision from all others. The first gives the band of
predictions, the worst row of the last the wider band where there are few rows. The band of the host time is chosen so
that the range of the whole holds nine of ten published loops, with those that nothing was fitted on (without the engine
of the same run); these, and a log of a user, are printed with the range that is predicted for them.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from export.budget import PRECISIONS, devices, engine_ms, host_ms, predict, sources, work_of
from export.published import UNSEEN, Row, predicted, published
from labeling.tables import table

DATA = Path(__file__).resolve().parents[2] / "export" / "budget_data"
COVERED = 0.9
NEAR = 0.25
_DEVICES = tuple(devices())
_START = {"launch_us_ghz": 20.0, "fp32": 0.5, "fp16": 0.5, "int8": 0.4, "memory": 0.5}
_PULL = (*[0.03] * len(_START), *[0.1] * len(_DEVICES))
"""How strongly logarithms are drawn to the start: a device off by a factor of two costs as one row off by 7 %."""


def read_rows() -> list[Row]:
    """Return all published rows, those left out by a rule too."""
    known, rows = sources(), list(published())
    for row in rows:
        if row.source not in known["sources"] or (row.left_out and row.left_out not in known["rules"]):
            raise SystemExit(f"published.csv: {row.name}: source or rule {row.left_out!r} is not in sources.json")
    return rows


def coefficients(values: Sequence[float]) -> dict[str, Any]:
    """Return the coefficients from their logarithms."""
    numbers = np.exp(values).tolist()
    named = dict(zip(_START, numbers, strict=False))
    return {
        "launch_us_ghz": named["launch_us_ghz"],
        "compute": {precision: named[precision] for precision in PRECISIONS},
        "memory": named["memory"],
        "device": dict(zip(_DEVICES, numbers[len(_START) :], strict=True)),
    }


def fitted(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the coefficients that fit the rows best."""
    start = np.log([*_START.values(), *[1.0] * len(_DEVICES)])
    pull = np.array(_PULL)
    published = np.log([row.ms for row in rows])

    def wrong(values: Any) -> Any:
        predicted = [math.log(predicted_ms(row, coefficients(values))) for row in rows]
        return np.concatenate([np.array(predicted) - published, pull * (values - start)])

    return coefficients(least_squares(wrong, start, loss="soft_l1", f_scale=0.1).x)


def predicted_ms(row: Row, fit: Mapping[str, Any]) -> float:
    return engine_ms(work_of(row.model, row.imgsz), devices()[row.device], row.device, row.precision, fit)


def held_out(rows: Sequence[Row], group: Callable[[Row], object]) -> list[float]:
    """Return each row's ms as predicted from the rows of other groups."""
    fits = {key: fitted([row for row in rows if group(row) != key]) for key in {group(row) for row in rows}}
    return [predicted_ms(row, fits[group(row)]) for row in rows]


def errors(rows: Sequence[Row], predicted: Iterable[float]) -> list[float]:
    """Return (predicted - published) / published."""
    return [ms / row.ms - 1 for row, ms in zip(rows, predicted, strict=True)]


def summary(found: Sequence[float]) -> dict[str, float]:
    return {
        "rows": len(found),
        "median_error": round(statistics.median(map(abs, found)), 3),
        "within_25_percent": round(sum(abs(error) <= NEAR for error in found) / len(found), 3),
    }


def band(rows: Sequence[Row], predicted: Iterable[float], covered: float) -> float:
    """Return the factor, up or down, that this share of the rows stays within."""
    off = [abs(math.log(ms / row.ms)) for row, ms in zip(rows, predicted, strict=True)]
    return round(math.exp(float(np.quantile(off, covered, method="higher"))), 3)


def fit_host(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what loops add to the engine, from publications that state both for the same run.

    Sources count alike within a device, whatever their number of rows. The 2019 Nano has none with a counted model: it
    is the Orin Nano times the ratio of one script that ran on both boards.
    """
    runs = [row for row in rows if row.left_out in ("", "model")]  # what the host adds does not depend on the model
    engine = {(r.source, r.device, r.model, r.imgsz, r.precision): r.ms for r in runs if r.timed == "engine"}
    added: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in runs:
        key = (row.source, row.device, row.model, row.imgsz, row.precision)
        if row.timed != "engine" and key in engine:
            added[row.device, row.source].append(((row.imgsz / 640) ** 2, row.ms - engine[key]))
    same_script = {device: _middle(ms for _, ms in added.pop((device, "aicast"))) for device in ("nano", "orin-nano")}
    slopes = [np.polyfit(*np.array(seen).T, 1) for seen in added.values() if len({area for area, _ in seen}) > 1]
    grows = round(statistics.mean(float(slope / (slope + constant)) for slope, constant in slopes), 3)
    full = {key: _middle(ms / (1 - grows + grows * area) for area, ms in seen) for key, seen in added.items()}
    per_device: dict[str, list[float]] = defaultdict(list)
    for (device, _source), ms in full.items():
        per_device[device].append(ms)
    ms_640 = {device: round(_middle(found), 2) for device, found in per_device.items()}
    ms_640["nano"] = round(ms_640["orin-nano"] * same_script["nano"] / same_script["orin-nano"], 2)
    off = []
    for key, ms in full.items():
        others = [value for other, value in full.items() if other != key]
        same = [value for other, value in full.items() if other != key and other[0] == key[0]]
        off.append(abs(math.log(_middle(same or others) / ms)))
    seen = {f"{device} {source}": round(ms, 2) for (device, source), ms in sorted(full.items())}
    return {"grows": grows, "ms_640": ms_640, "spread": round(math.exp(max(off)), 3), "seen": seen}


def factors_needed(rows: Sequence[Row], fit: Mapping[str, Any]) -> list[float]:
    """Return, for each whole loop, the factor of the host band from which on the range of the whole holds it."""
    needed, factor = [], fit["band"]["rows"]
    for row in rows:
        engine, host = predicted_ms(row, fit), host_ms(devices()[row.device], row.imgsz, fit)
        off = row.ms - engine - host
        slack = engine * (factor - 1 if off > 0 else 1 - 1 / factor)
        share = math.sqrt(max(0.0, off**2 - slack**2)) / host
        needed.append(1 + share if off > 0 else 1 / (1 - share) if share < 1 else math.inf)
    return needed


def whole_loops(rows: Sequence[Row], fit: Mapping[str, Any]) -> dict[str, Any]:
    """Return the band that holds nine of ten loops, and how many each band holds."""
    needed = factors_needed(rows, fit)
    unseen = [factor for row, factor in zip(rows, needed, strict=True) if row.left_out]
    band = math.ceil(1000 * float(np.quantile(needed, COVERED, method="higher"))) / 1000
    spread = fit["host"]["spread"]
    return {
        "band": band,
        "loops": {
            "rows": len(needed),
            "inside": sum(factor <= band for factor in needed),
            "unseen": len(unseen),
            "unseen_inside": sum(factor <= band for factor in unseen),
            "unseen_inside_spread": sum(factor <= spread for factor in unseen),
        },
    }


def other_loops(rows: Sequence[Row], fit: Mapping[str, Any]) -> dict[str, float]:
    """Return what the loops of other programs add to the predicted engine, as a multiple of the predicted host time."""
    seen: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.timed != "engine":
            added = row.ms - predicted_ms(row, fit)
            seen[row.source].append(added / host_ms(devices()[row.device], row.imgsz, fit))
    return {source: round(statistics.median(found), 2) for source, found in seen.items()}


def _rounded(fit: dict[str, Any]) -> dict[str, Any]:
    return {key: _rounded(value) if isinstance(value, dict) else float(f"{value:.4g}") for key, value in fit.items()}


def _middle(values: Iterable[float]) -> float:
    """Return the geometric mean."""
    return statistics.geometric_mean(values)


def _checked(row: Row) -> tuple[str, str, str]:
    found = predict(row.model, row.device, row.precision, row.imgsz)
    span = predicted(row, found)
    return f"{row.ms:.1f}", f"{span.mid:.1f} ({span.low:.1f}-{span.high:.1f})", "" if span.holds(row.ms) else "outside"


def main() -> None:
    everything = read_rows()
    rows = [row for row in everything if row.timed == "engine" and not row.left_out and row.comparable]
    one, source, cell = (
        held_out(rows, group) for group in (id, lambda r: r.source, lambda r: (r.device, r.precision))
    )  # fmt: skip
    off = errors(rows, one)
    sets = {name: [row.model.startswith(name) for row in rows] for name in ("yolov8", "yolo11")}

    def per_set(predicted: Sequence[float]) -> dict[str, Any]:
        found = errors(rows, predicted)
        return {
            name: summary([e for e, inside in zip(found, mask, strict=True) if inside]) for name, mask in sets.items()
        }

    fit = _rounded(fitted(rows)) | {
        "rows": dict(sorted(Counter(f"{row.device} {row.precision}" for row in rows).items())),
        "models": sorted({row.model for row in rows}),
        "smallest": min(row.imgsz for row in rows),
        "below_640": sorted({row.device for row in rows if row.imgsz < 640}),
        "band": {"rows": band(rows, one, COVERED), "few": band(rows, cell, 1.0)},
        "host": fit_host(everything),
        "leave_one_out": per_set(one),
        "leave_source_out": per_set(source),
        "leave_device_precision_out": per_set(cell),
        "outliers": {row.name: round(error, 3) for row, error in zip(rows, off, strict=True) if abs(error) > NEAR},
        "left_out": dict(sorted(Counter(row.left_out for row in everything if row.left_out).items())),
    }
    checks = [row for row in everything if row.left_out in UNSEEN]
    fit["host"]["others"] = other_loops(checks, fit)
    fit["host"] |= whole_loops([row for row in everything if row.timed != "engine" and row.comparable], fit)
    cells = [
        (row.name, (f"{row.ms:.2f}", f"{ms:.2f}", f"{error:+.1%}", "" if abs(error) <= NEAR else "outlier"))
        for row, ms, error in zip(rows, one, off, strict=True)
    ]
    print("\n".join(table(("published ms", "predicted ms", "error", ""), cells)))
    print(json.dumps(fit, indent=2))
    (DATA / "coefficients.json").write_text(json.dumps(fit, indent=1) + "\n", encoding="utf-8")
    print("\nnot fitted on:")
    print("\n".join(table(("published ms", "predicted ms", ""), [(row.name, _checked(row)) for row in checks])))


if __name__ == "__main__":
    main()
