"""Saved views of the app, one for each question of the day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .doubts import KINDS

if TYPE_CHECKING:
    from ..balance import Balance
    from .doubts import Suspect

_Expression = Callable[[], Any]

WRONG = "Probably wrong"
TWINS = "Near duplicates"
SERIES = "Taken in one series"
THIN = "Thin classes"
DISAGREE = "Teacher and people disagree"
NEVER_SEEN = "Never seen"
DARK = "Dark"
BLURRED = "Blurred"
DECIDED = "Decided already"

_SHOWN_SHARE = 0.2
_SHOWN_AT_LEAST = 100
_ODDEST = 100
_THIN_VERDICTS = ("none", "too few")
_REVIEWED = ["reviewed", "reviewed-empty"]


def wrong(kind: str) -> str:
    """Return the name of the view of one kind of error."""
    return f"{WRONG}: {kind}"


def save_views(dataset: Any, suspects: Sequence[Suspect], balance: Balance | None) -> None:
    """Save the views in a dataset that holds its samples.

    Args:
        dataset: see ``build``.
        suspects: the ranked list that its fields come from, best first.
        balance: names the classes that are thin.
    """
    from fiftyone import ViewField as F

    least = _least(suspects)

    def doubtful() -> Any:
        return F("suspicion") >= least

    def of_kind(kind: str) -> Any:
        return doubtful() & (F("kind") == kind)

    def by_teacher() -> Any:
        return doubtful() & F("signals").contains("teacher")

    views: list[tuple[str, Any, str]] = [
        (
            WRONG,
            _with_boxes(dataset, doubtful, doubtful).sort_by("suspicion", reverse=True),
            "The most doubtful labels and what may be missing, worst image first; 'why' says the reason",
        )
    ]
    for one in KINDS:
        boxes = "missing" if one == "missing" else "labels"
        worst = F(f"{boxes}.detections.suspicion").max()
        views.append(
            (
                wrong(one),
                _with_boxes(dataset, **{boxes: partial(of_kind, one)}).sort_by(worst, reverse=True),
                _WHAT[one],
            )
        )
    thin = [one.name for one in balance.classes if one.verdict in _THIN_VERDICTS] if balance is not None else []
    views += [
        (
            TWINS,
            dataset.match(F("near_duplicates") != None).sort_by([("near_duplicates", 1), ("keep", -1)]),  # noqa: E711
            "Nearly the same picture, group after group, the one to keep first; tag the others duplicate-of",
        ),
        (
            SERIES,
            dataset.match(F("series") != None).sort_by([("series", 1), ("name", 1)]),  # noqa: E711
            "Frames of one video or burst: a split must not cut them",
        ),
        (
            THIN,
            dataset.filter_labels("labels", F("label").is_in(thin)),
            f"Classes with too few images: {', '.join(thin) or 'none'}",
        ),
        (
            DISAGREE,
            _with_boxes(dataset.match(F("state").is_in(_REVIEWED)), by_teacher, by_teacher).sort_by(
                "suspicion", reverse=True
            ),
            "People have reviewed these, and the teacher says something else",
        ),
        (
            NEVER_SEEN,
            dataset.match(F("gap") != None).sort_by("gap"),  # noqa: E711
            "Examples of kinds of images that nobody has reviewed yet, the largest gap first",
        ),
        (DARK, _first(dataset, "brightness"), "The darkest pictures first"),
        (BLURRED, _first(dataset, "sharpness"), "The most blurred pictures first"),
        (DECIDED, _decided(dataset), "What labels.db holds decisions about; removing a tag takes one back"),
    ]
    for name, view, description in views:
        dataset.save_view(name, view, description=f"{len(view)} images. {description}", overwrite=True)


def _least(suspects: Sequence[Suspect]) -> float:
    """Return how doubtful a row has to be to be shown: the upper fifth of the list, and never 0."""
    rows = sorted((one.suspicion for one in suspects), reverse=True)
    last = max(round(_SHOWN_SHARE * len(rows)), min(_SHOWN_AT_LEAST, len(rows))) - 1
    return max(rows[last], 1e-9) if rows else 1e-9


def _with_boxes(view: Any, labels: _Expression | None = None, missing: _Expression | None = None) -> Any:
    """Return the images with such boxes, and of their labels and candidates only these; None is no box at all.

    An expression belongs to the place where it is used, so each place makes one of its own.
    """
    from fiftyone import ViewField as F

    filters = {"labels": labels, "missing": missing}
    has = [F(f"{name}.detections").filter(such()).length() > 0 for name, such in filters.items() if such is not None]
    view = view.match(F.any(has))
    for name, such in filters.items():
        view = view.filter_labels(name, F("suspicion") < 0 if such is None else such(), only_matches=False)
    return view


def _first(dataset: Any, field: str) -> Any:
    from fiftyone import ViewField as F

    return dataset.match(F(field) != None).sort_by(field).limit(_ODDEST)  # noqa: E711


def _decided(dataset: Any) -> Any:
    from fiftyone import ViewField as F

    from .samples import LABEL_FIELDS

    def some() -> Any:
        return F("decided").length() > 0

    boxes = (F(f"{name}.detections").filter(some()).length() > 0 for name in LABEL_FIELDS)
    return dataset.match(F.any([some(), *boxes]))


_WHAT = {
    "missing": "Somebody sees an object here that nobody labelled, see 'missing'",
    "spurious": "Labels with nothing behind them, as far as anybody sees",
    "wrong class": "Labels that look like another class",
    "bad box": "Boxes that do not fit their object",
    "duplicate box": "One object with two boxes",
}
