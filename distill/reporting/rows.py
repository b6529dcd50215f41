"""The tables and figures of a student's report: measurements in, plain values for the template out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from labeling.pictures import class_colour
from labeling.report_words import counted

from .words import Bounds, figure, percent

if TYPE_CHECKING:
    from ..compare import Comparison, Row
    from ..dataset import Dataset
    from ..evaluate import AtThreshold, Evaluation, Latency
    from ..evaluation.at_threshold import Answers

Table = dict[str, Any]
"""``columns``, and ``rows`` of name, colour, rule and cells."""

NOT_MEASURED = "not measured"

_MOST_CLASSES = 20
_CELL = 36
_LETTERS = 20
_MOST_LETTERS = 100


def table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table; colour and rule of a row may be left out."""
    return {"columns": columns, "rows": [{"colour": "", "rule": "", **row} for row in rows]}


def classes(evaluation: Evaluation, at: AtThreshold | None) -> Table:
    """Return one row per class and one for all of them."""
    precise = f"Recall at P {evaluation.precision:g}"
    columns = ("Class", "Precision", "Recall", "AP50", "AP50-95", precise, "Objects", "Images")
    answers = at.classes if at is not None else [None] * len(evaluation.classes)
    rows = []
    for place, (one, said) in enumerate(zip(evaluation.classes, answers, strict=True)):
        cells = [
            *_answers(said),
            value(one.ap50),
            value(one.ap50_95),
            value(one.recall_at_precision),
            f"{one.objects:,}",
            f"{one.images:,}",
        ]
        rows.append({"name": named(one.name), "colour": class_colour(place), "cells": cells})
    cells = [
        *_answers(at.overall if at is not None else None),
        value(evaluation.ap50),
        value(evaluation.ap50_95),
        "",
        f"{evaluation.objects:,}",
        f"{evaluation.images:,}",
    ]
    return table(columns, [*rows, {"name": "all classes", "cells": cells}])


def compared(comparison: Comparison) -> Table:
    """Return one row per speaker; those who speak about some of the images only stand below, with the others."""
    columns = ("Speaker", "AP50", "AP50-95", "Precision", "Recall", "F1", "Threshold", "Images")
    rows = [
        {
            "name": named(row.speaker),
            "rule": f"on the images of {named(standing.about)}" if standing.about else "",
            "cells": [*_speaker(row), f"{len(standing.images):,}"],
        }
        for standing in comparison.standings
        for row in standing.rows
    ]
    return table(columns, rows)


def differences(comparison: Comparison, metrics: Mapping[Any, str]) -> Table | None:
    """Return one row per pair and metric; None without any."""
    rows = [
        {
            "name": f"{named(pair.first)} minus {named(pair.second)}",
            "cells": [
                metrics[pair.metric],
                NOT_MEASURED if pair.difference is None else f"{pair.difference:+.3f}",
                "" if pair.interval is None else f"{pair.interval[0]:+.3f} to {pair.interval[1]:+.3f}",
                pair.verdict,
                f"{pair.images:,}",
            ],
        }
        for pair in comparison.pairs
    ]
    return table(("Pair", "Figure", "Difference", "95 % interval", "Verdict", "Images"), rows) if rows else None


def strips(comparison: Comparison, student: str) -> list[dict[str, Any]]:
    """Return AP50 of everybody who speaks about all images as a point and its interval, in percent of the width."""
    found = []
    for row in comparison.rows:
        if row.ap50.value is None:
            continue
        low, high = row.ap50.interval or (row.ap50.value, row.ap50.value)
        found.append(
            {
                "name": named(row.speaker),
                "me": row.speaker == student,
                "low": 100 * low,
                "width": 100 * (high - low),
                "at": min(100 * row.ap50.value, 99.2),
                "said": figure(row.ap50.value, row.ap50.interval),
            }
        )
    return found


def slices(evaluation: Evaluation, at: AtThreshold | None) -> Table | None:
    """Return kinds of photos and sizes of objects; None where there is none."""
    ap50 = {(one.about, one.name): (one.ap50, one.ap50_interval) for one in evaluation.slices}
    ap50 |= {("size", one.name): (one.ap50, None) for one in evaluation.sizes}
    rows = []
    for part in at.parts if at is not None else ():
        if not part.images:
            continue
        mean, spread = ap50.get((part.about, part.name), (None, None))
        false = "" if part.false_per_image is None else f"{part.false_per_image:.2f}"
        cells = [
            NOT_MEASURED if part.recall is None else figure(part.recall, part.recall_interval),
            NOT_MEASURED if mean is None else figure(mean, spread),
            false,
            f"{part.objects:,}",
            f"{part.images:,}",
        ]
        rows.append({"name": f"{part.about}: {part.name}", "rule": part.rule, "cells": cells})
    columns = ("Kind", "Recall", "AP50", "False alarms per image", "Objects", "Images")
    return table(columns, rows) if rows else None


def latency(found: Latency | None) -> dict[str, Any] | None:
    """Return how long one photo takes; None where it was not measured."""
    if found is None:
        return None
    on = found.device
    what = on.gpu or f"{on.cpu}, {counted(on.cores, 'core')}"
    times, photos = counted(found.n, "call"), counted(found.images, "photo")
    said = (
        f"One photo at a time on {what}: half of {times} on {photos} took at most {found.p50_ms:.1f} ms. The weights "
        f"are those that were measured above, at an input of {found.imgsz} pixels; decoding the file is not part of it."
    )
    cells = [f"{ms:.1f} ms" for ms in (found.p50_ms, found.p90_ms, found.p99_ms, found.mean_ms, found.max_ms)]
    columns = ("Device", "Half within", "9 of 10 within", "99 of 100 within", "Mean", "Longest")
    return {"said": said, "table": table(columns, [{"name": what, "cells": cells}])}


def parts(dataset: Dataset, test: Evaluation | None, at: AtThreshold | None) -> Table:
    """Return how many images and objects each part has."""
    rows = [
        {
            "name": part,
            "cells": [f"{number:,}", f"{dataset.objects.get(part, 0):,}", f"{dataset.backgrounds.get(part, 0):,}"],
        }
        for part, number in dataset.images.items()
    ]
    if test is not None and "test" not in dataset.images:
        empty = "–" if at is None else f"{at.backgrounds.images:,}"
        rows.append({"name": "test", "cells": [f"{test.images:,}", f"{test.objects:,}", empty]})
    return table(("Part", "Images", "Objects", "Without any"), rows)


def left_out(*counted: Mapping[str, int]) -> Table:
    """Return how many images are in no part, by reason, the most frequent first."""
    rows = sorted(((reason, n) for one in counted for reason, n in one.items() if n), key=lambda row: (-row[1], row[0]))
    return table(("Reason", "Images"), [{"name": reason, "cells": [f"{n:,}"]} for reason, n in rows])


def standing(part: str, evaluation: Evaluation | None) -> str:
    """Return on what was measured, as one sentence."""
    if evaluation is None:
        return "Nothing was measured yet."
    seen = "that it has never learned from" if part == "test" else "on which its threshold was chosen"
    kind, images = "masks" if evaluation.masks else "boxes", counted(evaluation.images, "image")
    return f"Measured on {images} of the {part} part, {seen}, by {kind}; intervals are of 95 %."


def left_out_said(parts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return what could not be measured, one sentence for each part that lacks something."""
    found = []
    for part, reasons in parts.items():
        some = "; ".join(f"{counted(n, 'image')}: {reason}" for reason, n in sorted(reasons.items()) if n)
        if some:
            found.append(f"Left out of the measurement on {part}: {some}.")
    return found


def matrix(names: Sequence[str], confusion: Any) -> dict[str, Any] | None:
    """Return what is taken for what as a drawing; None where nothing is there and nothing was said.

    Args:
        names: the n classes.
        confusion: (n + 1, n + 1) counts; rows are what is there, the last row and column background.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    if not counts.any():
        return None
    shown, counts, merged = _merged([named(name) for name in names], counts)
    rows, columns = [*shown, "nothing there"], [*shown, "not found"]
    cells = []
    for down, total in enumerate(counts.sum(axis=1)):
        for across, count in enumerate(counts[down].tolist()):
            if down == across == len(shown):
                continue
            share = count / total if total else 0.0
            place = {"x": across * _CELL, "y": down * _CELL, "count": count, "shade": round(0.15 + 0.85 * share, 3)}
            look = "hit" if down == across else "err"
            title = f"{rows[down]} → {columns[across]}: {count:,} of {total:,} ({percent(share)})"
            cells.append({**place, "look": look, "strong": share > 0.55, "title": title})
    letters = max(len(short_label(name)) for name in (*rows, *columns))
    left, head, size = 24 + 7 * letters, 24 + 5 * letters, _CELL * (len(shown) + 1)
    right, wrong = int(np.trace(counts)), int(counts.sum() - np.trace(counts))
    return {
        "rows": _labels(rows),
        "columns": _labels(columns),
        "cells": cells,
        "cell": _CELL,
        "left": left,
        "head": head,
        "width": left + size + head,
        "height": head + size + 4,
        "merged": merged,
        "alt": f"Confusion matrix of {len(names)} classes and background: {right:,} right, {wrong:,} wrong.",
    }


def _merged(names: list[str], counts: Any) -> tuple[list[str], Any, str]:
    """Return the classes with most objects, and all others as one."""
    if len(names) <= _MOST_CLASSES:
        return names, counts, ""
    kept = np.sort(np.argsort(-counts[:-1].sum(axis=1), kind="stable")[: _MOST_CLASSES - 1])
    group = np.full(len(counts), len(kept))
    group[kept], group[-1] = np.arange(len(kept)), len(kept) + 1
    to = np.eye(len(kept) + 2, dtype=np.int64)[group]
    others = len(names) - len(kept)
    said = f"The {others:,} classes with the fewest objects are drawn as one; confusion among them counts as right."
    return [*(names[row] for row in kept), f"{others:,} others"], to.T @ counts @ to, said


def _labels(names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"text": short_label(name), "full": name, "at": at * _CELL} for at, name in enumerate(names)]


def short_label(name: str) -> str:
    """Return a name for the margin of a drawing; its end often tells it from others."""
    half = _LETTERS // 2
    return name if len(name) <= _LETTERS else f"{name[:half]}…{name[1 - half :]}"


def named(name: str) -> str:
    """Return a name from a project without what a program would obey, of any length that a table can hold."""
    plain = "".join(letter if letter.isprintable() else "�" for letter in name)
    return plain if len(plain) <= _MOST_LETTERS else plain[: _MOST_LETTERS - 1] + "…"


def value(number: float | None) -> str:
    """Return a figure, or that there is none."""
    return "–" if number is None else f"{number:.2f}"


def span(bounds: Bounds | None) -> str:
    """Return an interval as it stands under a figure."""
    return "" if bounds is None else f"{bounds[0]:.2f} to {bounds[1]:.2f}"


def _answers(said: Answers | None) -> tuple[str, str]:
    return ("–", "–") if said is None else (value(said.precision), value(said.recall))


def _speaker(row: Row) -> list[str]:
    score = row.threshold
    threshold = "by class" if isinstance(score, tuple) else "none" if score == 0 else f"{score:.2f}"
    figures = [
        NOT_MEASURED if one.value is None else figure(one.value, one.interval) for one in (row.ap50, row.ap50_95)
    ]
    return [*figures, value(row.overall.precision), value(row.overall.recall), value(row.overall.f1), threshold]
