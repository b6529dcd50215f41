"""Which images a hand-over is about: new, changed since, to be looked at again, or left as they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from ..core.errors import InputError
from ..core.records import Annotation, ImageState
from ..core.standing import STANDS
from ..core.store import Store
from ..core.store_decisions import DECISIONS, DecisionLedger
from ..core.store_studio import StudioLedger, Target
from ..core.strict import did_you_mean
from ..queue import AUDIT_SHARE, lot, set_aside
from ..trust.sureness import NEVER, surest

Kind = Literal["class", "state", "decision", "sure"]

_LOT = "gold"
"""The decision that is a draw by lot: no wish that people look at an image again."""

_WAITING: frozenset[str] = frozenset({"prelabelled", "pushed"})
_STATES = tuple(state for state in get_args(ImageState) if state != "quarantined")


@dataclass(frozen=True, slots=True)
class Condition:
    """One ``--only``: images with an object of a class, in a state, decided about, or the surest share of all."""

    kind: Kind
    value: str

    @property
    def share(self) -> float:
        """Which share of the images that wait, the surest, is meant; in (0, 1]."""
        return float(self.value)


@dataclass(slots=True)
class Selection:
    """What a push is about, by sha256.

    Attributes:
        new: have no task yet.
        changed: have a task, and other machine labels since.
        asked: have a task that people shall look at again, and what to tell them.
        unchanged: how many have a task and nothing new to send.
        withdrawn: how many are left out since people deleted their task.
        set_aside: how many are left out since people decided to drop them, or that they repeat another one.
        skipped: how many are left out since they may skip review.
        audits: those of the new ones that may skip review, and that the lot has chosen all the same.
        since: lowest score that the lot speaks for, where it draws among a part of all; 0 for all.
    """

    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)
    unchanged: int = 0
    withdrawn: int = 0
    set_aside: int = 0
    skipped: int = 0
    audits: list[str] = field(default_factory=list)
    since: float = 0.0


def conditions(texts: Sequence[str], store: Store) -> tuple[Condition, ...]:
    """Read what was given as ``--only``.

    Raises:
        InputError: not of the form KIND:VALUE, or a class, state or decision that no image can have.
    """
    return tuple(_condition(text, store) for text in texts)


def select(
    store: Store,
    target: Target | None,
    only: Sequence[Condition] = (),
    *,
    again: bool = False,
    accepted: Collection[str] = (),
    audit_share: float = AUDIT_SHARE,
) -> Selection:
    """Sort the images that have a file and meet every condition.

    Without a state or decision (but gold) among the conditions, images are new only while they wait for people and
    nobody has decided to leave them out.

    Args:
        store: labels.db.
        target: None where nothing was ever pushed.
        only: see ``conditions``.
        again: what people deleted counts as new.
        accepted: images that may skip review; they are new only where the lot has chosen them.
        audit_share: of the accepted images, which the lot takes; the same image always draws the same lot.
    """
    ledger = StudioLedger(store)
    rows = {task.sha256: task for task in ledger.tasks(target)} if target is not None else {}
    changed = set(ledger.outdated(target)) if target is not None else set()
    states: dict[str, str] = dict(
        store.rows("SELECT sha256, state FROM v_images WHERE sha256 IS NOT NULL AND state <> 'quarantined'")
    )
    matching, notes, since = _matching(store, states, only)
    any_state = any(condition.kind in ("state", "decision") and condition.value != _LOT for condition in only)
    left_out = set_aside(store)
    chosen = Selection(since=since)
    for sha256 in matching:
        task = rows.get(sha256)
        if task is not None and task.state == "sent":
            if sha256 in notes:
                chosen.asked[sha256] = notes[sha256]
            if sha256 in changed:
                chosen.changed.append(sha256)
            else:
                chosen.unchanged += 1
        elif not any_state and states[sha256] not in _WAITING:
            continue
        elif not any_state and sha256 in left_out:
            chosen.set_aside += 1
        elif task is not None and task.state == "withdrawn" and not again:
            chosen.withdrawn += 1
        elif sha256 in accepted and lot(sha256, "audit 0") >= audit_share:
            chosen.skipped += 1
        else:
            chosen.new.append(sha256)
            chosen.audits += [sha256] if sha256 in accepted else []
    return chosen


def notes_of(store: Store, only: Sequence[Condition]) -> dict[str, str]:
    """Return what to tell people about images that were decided about: the note, or else the decision."""
    ledger = DecisionLedger(store)
    return {
        sha256: note or condition.value
        for condition in only
        if condition.kind == "decision" and condition.value != _LOT
        for sha256, note in ledger.images(condition.value).items()
    }


def labels_to_push(store: Store, sha256: str, state: ImageState) -> list[Annotation]:
    """Return the labels that people are shown: their own where they have reviewed the image, else the machine's."""
    return store.annotations_of(sha256, "human" if state in ("reviewed", "reviewed-empty") else "machine")


def _matching(
    store: Store, states: dict[str, str], only: Sequence[Condition]
) -> tuple[list[str], dict[str, str], float]:
    """Return the images that meet all conditions, what to tell people, and from which score on they are all images."""
    notes = notes_of(store, only)
    matching, since = set(states), 0.0
    for condition in only:
        if condition.kind == "sure":
            level, images = surest(store, condition.share)
            matching, since = matching & images, max(since, level)
            continue
        since = NEVER
        if condition.kind == "class":
            matching &= _with_class(store, condition.value)
        elif condition.kind == "state":
            matching &= {sha256 for sha256, state in states.items() if state == condition.value}
        else:
            matching &= DecisionLedger(store).images(condition.value).keys()
    return sorted(matching), notes, since


def _with_class(store: Store, class_name: str) -> set[str]:
    rows = store.rows(
        "SELECT DISTINCT a.sha256 FROM annotations a JOIN images i ON i.sha256 = a.sha256 "
        f"WHERE a.class_name = ? AND {STANDS}",
        class_name,
    )
    return {sha256 for (sha256,) in rows}


def _condition(text: str, store: Store) -> Condition:
    spelled = f"decision:{text}" if text.strip() in DECISIONS else text
    kind, colon, value = (part.strip() for part in spelled.partition(":"))
    if not colon or not value or kind not in get_args(Kind):
        raise InputError(
            f"--only {text!r}: expected class:NAME, state:STATE, sure:SHARE, or a decision such as relabel"
        )
    if kind == "sure":
        return Condition("sure", _share(text, value))
    known = {"class": store.class_names, "state": lambda: _STATES, "decision": DecisionLedger(store).names}
    names = tuple(known[kind]())
    if value not in names:
        near = did_you_mean(value, names) or f"; there is no {kind} yet"
        raise InputError(f"--only {text!r}: no image can have the {kind} {value!r}{near}")
    return Condition(kind, value)  # type: ignore[arg-type]


def _share(text: str, value: str) -> str:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise InputError(f"--only {text!r}: expected a share above 0 and up to 1, such as sure:0.25")
    return value
