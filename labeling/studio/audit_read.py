"""From labels.db to what is measured: what was pushed, what each person said, and what counts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..core.matching import match
from ..core.ontology import Ontology
from ..core.records import Annotation, ImageState
from ..core.store import Store
from ..core.store_studio import Answer, StudioLedger, Task
from .audit import Audit, Case, Look, Status, audit
from .audit_teacher import MIN_IOU
from .compare import Change, compare
from .convert import Drawn, read

_MACHINES = ("teacher", "student")


def audit_of(store: Store, ontology: Ontology, *, worst: int = 24) -> Audit:
    """Measure everything that was handed over, one image in memory at a time.

    Args:
        store: of the project.
        ontology: of the project.
        worst: how many disagreements to keep.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    return audit(cases(store, ontology), ontology.names, worst=worst)


def cases(store: Store, ontology: Ontology) -> Iterator[Case]:
    """Yield every image that was handed over, once; of several projects on Label Studio the newest with an answer.

    What counts are the labels that stand in labels.db, so they are those of the policy that ``pull`` was given.
    """
    ledger = StudioLedger(store)
    states, sizes, labelled = store.states(), store.sizes(), store.done_keys()
    waiting: dict[str, Case] = {}
    told: set[str] = set()
    for target in reversed(ledger.targets()):
        for task in ledger.tasks(target):
            size_wh = sizes.get(task.sha256)
            if task.state == "intended" or size_wh is None or task.sha256 in told:
                continue
            answers = list(ledger.answers(target, task.sha256))
            status = _status(task, answers, states.get(task.sha256))
            case = Case(task.sha256, size_wh, status, task.blind, task.drawn)
            if status == "waiting":
                if task.state == "sent":
                    waiting.setdefault(task.sha256, case)
                continue
            told.add(task.sha256)
            if status in ("reviewed", "skipped"):
                pushed = ledger.pushed(target, task.sha256)
                machines = all(annotation.provenance.source in _MACHINES for annotation in pushed)
                case = replace(
                    case,
                    teacher=task.sha256 in labelled and machines,
                    looks=tuple(_look(answer, pushed, case, ontology) for answer in answers if answer.kind != "draft"),
                    truth=_truth(store, pushed, case) if status == "reviewed" else None,
                )
            yield case
    yield from (case for sha256, case in waiting.items() if sha256 not in told)


def _status(task: Task, answers: Sequence[Answer], state: ImageState | None) -> Status:
    kinds = {answer.kind for answer in answers}
    if task.attention is not None:
        return "attention"
    if "submitted" in kinds and state in ("reviewed", "reviewed-empty"):
        return "reviewed"
    if kinds - {"draft"}:
        return "skipped"
    return "draft" if kinds else "waiting"


def _look(answer: Answer, pushed: Sequence[Annotation], case: Case, ontology: Ontology) -> Look:
    if answer.kind == "skipped":
        return Look(answer.annotator, _seconds(answer), skipped=True)
    named = [
        replace(one, class_name=ontology.class_of(one.class_name) or one.class_name)
        for one in read(answer.result, case.size_wh)[0]
    ]
    return Look(answer.annotator, _seconds(answer), changes=_changes(pushed, named, case))


def _truth(store: Store, pushed: Sequence[Annotation], case: Case) -> tuple[Change, ...]:
    stand = [
        Drawn(
            region_id=annotation.provenance.parent_id or annotation.id,
            class_name=annotation.class_name,
            box_xyxy=annotation.box_xyxy,
            rle=annotation.rle,
            kind="rectangle" if annotation.rle is None else "brush",
            corners=None,
            origin=None,
        )
        for annotation in store.annotations_of(case.sha256, "human")
    ]
    return _changes(pushed, stand, case)


def _changes(pushed: Sequence[Annotation], drawn: Sequence[Drawn], case: Case) -> tuple[Change, ...]:
    """Return what became of what was pushed.

    The pairs come from the ids of regions. Where none was taken over, because nobody saw the labels or somebody began
    anew, they come from the overlap.
    """
    known = {annotation.id for annotation in pushed}
    if case.blind or not any(one.region_id in known for one in drawn):
        drawn = _paired(pushed, drawn)
    return tuple(compare(pushed, drawn, case.size_wh))


def _paired(pushed: Sequence[Annotation], drawn: Sequence[Drawn]) -> list[Drawn]:
    """Give what was drawn the ids of the labels that it overlaps, one to one, the same class first."""
    same = [[claim.class_name == one.class_name for one in drawn] for claim in pushed]
    boxes, others = [claim.box_xyxy for claim in pushed], [one.box_xyxy for one in drawn]
    pairs = {j: pushed[i].id for i, j, _iou in match(boxes, others, min_iou=MIN_IOU, prefer=same)}
    return [replace(one, region_id=pairs.get(j, f"drawn-{j}")) for j, one in enumerate(drawn)]


def _seconds(answer: Answer) -> float | None:
    seconds = answer.seconds
    return seconds if seconds is not None and math.isfinite(seconds) and seconds > 0 else None
