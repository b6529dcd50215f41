"""The words of a student's report: whether it is ready, and how it stands beside others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from labeling.report_words import counted

Bounds = tuple[float, float]
"""Lower and upper end of an interval of 95 %."""

State = Literal["ready", "not ready", "cannot say"]
Outcome = Literal["better", "worse", "no difference shown", "too few images"]

ENOUGH_IMAGES = 50
"""Test images with a class below which nothing good is said of it: of 50 objects, one more found or missed is 2 %, and
the interval of a recall of 0.9 is about 0.17 wide (Wilson, 1927)."""

ALIKE = 0.03
"""AP50 within which two are called as good as each other: about what another seed moves."""

NOT_OPENED = "the test part was not opened for this student"

_BEATEN: tuple[Outcome, ...] = ("worse", "no difference shown")
_MOST_CLASSES = 4
_LETTERS = 40


@dataclass(frozen=True, slots=True)
class Target:
    """What a student has to reach, class by class, at the threshold that was chosen.

    Attributes:
        recall: share of the objects that it has to find. A tenth missed is what one more pair of eyes would catch.
        precision: share of its boxes that have to be right. With fewer, people stop to look at them.
        images: test images that have to hold a class, see ENOUGH_IMAGES.
    """

    recall: float = 0.9
    precision: float = 0.9
    images: int = ENOUGH_IMAGES


TARGET = Target()


@dataclass(frozen=True, slots=True)
class Measured:
    """One class, or a kind of objects or photos, on the test part at the threshold.

    Attributes:
        name: of the class or the kind.
        images: of the test part that hold one.
        objects: in them.
        precision, recall: in [0, 1]; None where nothing was shown, or nothing is there.
        precision_bounds, recall_bounds: their intervals; None where they are not known.
    """

    name: str
    images: int
    objects: int
    precision: float | None
    recall: float | None
    precision_bounds: Bounds | None = None
    recall_bounds: Bounds | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """One sentence about a student; ``good`` is false where it deserves a look."""

    text: str
    good: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a student is ready, one sentence why, and everything else that a reader has to know."""

    state: State
    headline: str
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Rival:
    """A comparison with somebody on the same images.

    Attributes:
        name: such as "the teacher it learned from".
        images: that both speak about.
        ours, theirs: AP50; None where it is not defined.
        difference: interval of ours minus theirs, on the same drawn images; None where it is not known.
        outcome: of ours, see ``compare``.
        baseline: whoever does not beat this has learned nothing.
    """

    name: str
    images: int
    ours: float | None
    theirs: float | None
    difference: Bounds | None
    outcome: Outcome
    baseline: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on.

    Attributes:
        classes: on the test part; None where it was not opened.
        overall: all classes together; None where the test part was not opened.
        rivals: that were measured on the same images.
        leaks: images of the test part that training has seen in some form; None where nobody looked.
        unreviewed: test images whose labels no person has checked; None where nobody looked.
        opening: what the ledger says about this look at the test part, one sentence each; None where it has no entry.
        part: that was measured, for sentences about leaks and unreviewed images.
        closed: why the test part was not measured, as a clause.
        alike: measured images that show the same as one that it learned from and that the split holds no more.
    """

    classes: Sequence[Measured] | None
    overall: Measured | None = None
    rivals: Sequence[Rival] = ()
    leaks: int | None = None
    unreviewed: int | None = None
    opening: Sequence[str] | None = None
    part: str = "test"
    closed: str = NOT_OPENED
    alike: int = 0


def verdict(on: Evidence, target: Target = TARGET) -> Verdict:
    """Judge a student. What makes its figures worthless comes first, then what it misses, then what is not known."""
    notes = tuple(_notes(on, target))
    if on.classes is None:
        return Verdict("cannot say", f"Cannot say: {on.closed}.", notes)
    if on.unreviewed:
        images = counted(on.unreviewed, "test image")
        return Verdict("cannot say", f"Cannot say: nobody has reviewed the labels of {images}.", notes)
    missed = [(one, why) for one in on.classes for state, why in [judged(one, target)] if state == "missed"]
    if missed:
        _, why = min(missed, key=lambda pair: _reach(pair[0], target))
        return Verdict("not ready", f"Not ready: {why}{_more(missed, 'short of it')}.", notes)
    beaten_by = next((one for one in on.rivals if one.baseline and one.outcome in _BEATEN), None)
    if beaten_by is not None:
        return Verdict("not ready", f"Not ready: it is not shown to beat {beaten_by.name}.", notes)
    if on.leaks is None or on.unreviewed is None or on.leaks or on.alike:
        doubt = (
            f"training has seen {counted((on.leaks or 0) + on.alike, 'test image')} in some form"
            if on.leaks or on.alike
            else "nobody has checked that training has not seen the test part" if on.leaks is None
            else "nobody has checked whether people reviewed the test part"
        )  # fmt: skip
        return Verdict("cannot say", f"Cannot say: {doubt}.", notes)
    unsure = [(one, why) for one in on.classes for state, why in [judged(one, target)] if state == "open"]
    if unsure or not on.classes:
        first = unsure[0][1] if unsure else "the project names no class"
        return Verdict("cannot say", f"Cannot say yet: {first}{_more(unsure, 'uncertain')}.", notes)
    unknown = next((one for one in on.rivals if one.baseline and one.outcome not in ("better", *_BEATEN)), None)
    if unknown is not None:
        why = "there are too few images to tell" if unknown.theirs is not None else "there is nothing to compare"
        return Verdict("cannot say", f"Cannot say yet: {why} whether it beats {unknown.name}.", notes)
    found, right = percent(target.recall), percent(target.precision)
    whom = "each class" if len(on.classes) > 1 else short(on.classes[0].name)
    again = " The test part was not new to it: read on." if on.opening is None or on.opening else ""
    said = f"Ready: of {whom} it finds at least {found}, and at least {right} of what it shows is right.{again}"
    return Verdict("ready", said, notes)


def judged(one: Measured, target: Target) -> tuple[Literal["met", "missed", "open"], str]:
    """Say whether a class reaches the target, and why as a clause.

    Missed is what lies below even at the upper end of its interval, or below at all on enough images. Met is what lies
    above at the lower end on enough images. Anything else is open.
    """
    name = short(one.name)
    if not one.objects or one.recall is None:
        return "open", f"no test image holds {name}"
    pairs = (
        ("recall", one.recall, one.recall_bounds, target.recall),
        ("precision", one.precision, one.precision_bounds, target.precision),
    )
    enough = one.images >= target.images
    for what, value, bounds, goal in pairs:
        if value is not None and value < goal and (enough or (bounds is not None and bounds[1] < goal)):
            return "missed", f"{what} of {name} is {figure(value, bounds)}, the target is {goal:g}"
    if not enough:
        some = "holds" if one.images == 1 else "hold"
        return "open", f"only {counted(one.images, 'test image')} {some} {name}, and {target.images} are needed"
    for what, value, bounds, goal in pairs:
        if value is None:
            return "open", f"{what} of {name} is not known"
        if bounds is None or bounds[0] < goal:
            return "open", f"{what} of {name} is {figure(value, bounds)}, and {goal:g} is not certain"
    return "met", f"{name} reaches the target"


def _notes(on: Evidence, target: Target) -> Iterator[Note]:
    if on.overall is not None and on.overall.recall is not None:
        yield _at_threshold(on.overall, on.overall.recall, target)
    known = [one for one in on.classes or () if one.recall is not None]
    if len(known) > 1:
        worst = min(known, key=lambda one: _reach(one, target))
        figures = f"recall {figure(worst.recall or 0.0, worst.recall_bounds)}"
        if worst.precision is not None:
            figures += f", precision {figure(worst.precision, worst.precision_bounds)}"
        images = counted(worst.images, "image")
        good = judged(worst, target)[0] == "met"
        yield Note(f"The weakest class is {short(worst.name)}: {figures}, on {images}.", good)
    for rival in on.rivals:
        yield beside(rival)
    if on.unreviewed:
        images = counted(on.unreviewed, "image")
        yield Note(
            f"The labels of {images} of the {on.part} part are a machine's that nobody has reviewed: figures on them "
            "say how far two machines agree, not how right the student is."
        )
    if on.leaks:
        yield Note(
            f"{counted(on.leaks, 'leak')} between the parts of the split: training has seen {on.part} images in some "
            "form, and the figures are too good."
        )
    if on.alike:
        yield Note(
            "It has learned from images that the split holds no more and that show the same as "
            f"{counted(on.alike, f'{on.part} image')}: the figures are too good."
        )
    elif on.leaks == 0:
        yield Note(f"No copy, near copy or neighbour of a {on.part} image was found among those it learned from.", True)
    if on.classes is not None and on.opening is not None:
        yield from map(Note, on.opening)
        if not on.opening:
            yield Note("The test part was opened for the first time, for this student alone.", True)
    elif on.classes is not None:
        yield Note("The ledger has no entry for this look at the test part: it may have been opened before.")


def _at_threshold(overall: Measured, recall: float, target: Target) -> Note:
    found = f"At its threshold it finds {percent(recall)} of all objects{_span(overall.recall_bounds)}"
    if overall.precision is None:
        return Note(f"{found}, and shows nothing.")
    right = f"{percent(overall.precision)} of what it shows is right{_span(overall.precision_bounds)}"
    return Note(f"{found}, and {right}.", recall >= target.recall and overall.precision >= target.precision)


def beside(rival: Rival) -> Note:
    """Say how a student stands beside somebody else."""
    if rival.ours is None or rival.theirs is None or rival.difference is None:
        return Note(f"Beside {rival.name}: no AP50 to compare on {counted(rival.images, 'image')}.")
    low, high = rival.difference
    figures = f"AP50 {rival.ours:.2f} against {rival.theirs:.2f}"
    span = f"on {counted(rival.images, 'image')}, difference {low:+.2f} to {high:+.2f}"
    if rival.outcome == "too few images":
        return Note(f"Beside {rival.name}: {figures}, too few images to tell ({span}).")
    if rival.outcome != "no difference shown":
        return Note(f"It does {rival.outcome} than {rival.name}: {figures} ({span}).", rival.outcome == "better")
    close = not rival.baseline and max(abs(low), abs(high)) <= ALIKE
    start = (
        f"It is not shown to beat {rival.name}" if rival.baseline
        else f"It does as well as {rival.name}" if close
        else f"Beside {rival.name}"
    )  # fmt: skip
    return Note(f"{start}: {figures}, no difference shown ({span}).", close)


def figure(value: float, bounds: Bounds | None) -> str:
    """Return a number with its interval."""
    return f"{value:.2f}" + ("" if bounds is None else f" ({bounds[0]:.2f} to {bounds[1]:.2f})")


def percent(value: float) -> str:
    """Return a share in whole percents; 100 % and 0 % only where they are exact."""
    rounded = round(100 * value)
    if rounded in (0, 100) and value not in (0.0, 1.0):
        return f"{100 * value:.1f}%"
    return f"{rounded}%"


def short(name: str) -> str:
    """Return the name of a class for a sentence: no control characters, and not longer than a line."""
    plain = "".join(letter if letter.isprintable() else "�" for letter in name)
    return plain if len(plain) <= _LETTERS else plain[: _LETTERS - 1] + "…"


def named(some: Sequence[str]) -> str:
    """Return the first names of a list, and how many there are more."""
    more = f" and {len(some) - _MOST_CLASSES:,}" if len(some) > _MOST_CLASSES else ""
    return ", ".join(some[:_MOST_CLASSES]) + more


def _more(some: Sequence[object], what: str) -> str:
    number = len(some) - 1
    return f"; {number:,} more {'class is' if number == 1 else 'classes are'} {what}" if number else ""


def _span(bounds: Bounds | None) -> str:
    return "" if bounds is None else f" ({percent(bounds[0])} to {percent(bounds[1])})"


def _reach(one: Measured, target: Target) -> float:
    """Return how far the worse of the two figures is from its target; lower is worse."""
    precision = 0.0 if one.precision is None else one.precision - target.precision
    return min((one.recall or 0.0) - target.recall, precision)
