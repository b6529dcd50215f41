"""Saved views of the app, one for each question of the day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from labeling.report_words import counted

from .doubts import KINDS
from .page_words import PROBABLE

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

_SHOWN_AT_LEAST = 20
_THIN_VERDICTS = ("none", "too few")
_REVIEWED = ["reviewed", "reviewed-empty"]


def wrong(kind: str) -> str:
    """Return the name of the view of one kind of error."""
    return f"{WRONG}: {kind}"


def save_views(dataset: Any, suspects: Sequence[Suspect], balance: Balance) -> None:
    """Save the views in a dataset that holds its samples; those that would show nothing are left out.

    Args:
        dataset: see ``build``.
        suspects: the ranked list that its fields come from, best first.
        balance: names the classes that are thin, and the photos that are dark or blurred.
    """
    from fiftyone import ViewField as F

    least, few = _least(suspects)

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
            f"Labels that are probably wrong or missing, worst image first; 'why' says the reason{few}",
        )
    ]
    for one in KINDS:
        boxes = "missing" if one == "missing" else "labels"
        worst = F(f"{boxes}.detections.suspicion").max()
        views.append(
            (
                wrong(one),
                _with_boxes(dataset, **{boxes: partial(of_kind, one)}).sort_by(worst, reverse=True),
                f"{_WHAT[one]}{few}",
            )
        )
    thin = [one.name for one in balance.classes if one.verdict in _THIN_VERDICTS]
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
            f"Classes with too few images: {', '.join(thin)}",
        ),
        (
            DISAGREE,
            _with_boxes(dataset.match(F("state").is_in(_REVIEWED)), by_teacher, by_teacher).sort_by(
                "suspicion", reverse=True
            ),
            f"People have reviewed these, and the teacher says something else{few}",
        ),
        (
            NEVER_SEEN,
            dataset.match(F("gap") != None).sort_by("gap"),  # noqa: E711
            "Examples of kinds of images that nobody has reviewed yet, the largest gap first",
        ),
        (DARK, *_slice(dataset, balance, "dark", "brightness")),
        (BLURRED, *_slice(dataset, balance, "blurred", "sharpness")),
        (DECIDED, _decided(dataset), "What labels.db holds decisions about; removing a tag takes one back"),
    ]
    for name, view, description in views:
        if images := len(view):
            described = f"{counted(images, 'image')}. {description}"
            dataset.save_view(name, view, description=described, overwrite=True)


def _least(suspects: Sequence[Suspect]) -> tuple[float, str]:
    """Return how doubtful a row has to be to be shown, never 0, and what to say if that is less than probable."""
    rows = sorted((one.suspicion for one in suspects if one.suspicion > 0), reverse=True)
    probable = sum(one >= PROBABLE for one in rows)
    if probable >= _SHOWN_AT_LEAST or probable == len(rows):
        return PROBABLE, ""
    least = rows[:_SHOWN_AT_LEAST][-1]
    shown = sum(one >= least for one in rows)
    return least, f". Suspicion of {PROBABLE:g} or more: {probable}; the {shown} most doubtful are shown"


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


def _slice(dataset: Any, balance: Balance, name: str, field: str) -> tuple[Any, str]:
    """Return the photos of one kind, the lowest value of a field first, and what makes them so."""
    members, rule = next(((one.members, one.rule) for one in balance.slices if one.name == name), ((), ""))
    return dataset.select_by("labelstill_id", members).sort_by(field), f"The most {name} first: {rule}"


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
