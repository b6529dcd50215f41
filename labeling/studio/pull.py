"""Pull: bring back what people said since the last time, whole or not at all per image.

Everything is read before anything is written, into a file beside labels.db, so that memory stays flat and a label that
nobody knows stops the pull before its first row. The writing goes in batches; a pull that is cut off is done again by
the next one, which leaves the same rows.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..core.errors import InputError, StateError
from ..core.ontology import Ontology
from ..core.records import REVIEWED_STATES, ImageState
from ..core.store import Store
from ..core.store_studio import Answer, StudioLedger, Target, Task, Verdict
from .answers import moment
from .policy import Policy, parse
from .pulled import Attention, Pulled, answered_by_several, drafted, shown_name, teacher_precision, totals
from .reading import Reading
from .verdicts import Judge

if TYPE_CHECKING:
    from .client import StudioClient

BATCH = 200
"""Images per transaction."""

_FIELDS = [field.name for field in fields(Answer)]


def pull(
    store: Store,
    client: StudioClient,
    target: Target,
    ontology: Ontology,
    *,
    policy: Policy | None = None,
    batch: int = BATCH,
) -> Pulled:
    """Write what people said into labels.db. The project is locked by the caller.

    Args:
        store: of the project.
        client: the server.
        target: the project on it; no task of it is in doubt any more.
        ontology: the classes, with the other names that people may have given them.
        policy: whose answer counts; that of the last pull when left out, ``latest`` at first. Another one than the last
            makes all answers count anew.
        batch: images per transaction.

    Raises:
        InputError: labels that no class answers to, or a policy that names nobody; nothing is written then.
        ServerError: the server did not answer, or not in the form that it promises; nothing is written then.
        StateError: labels.db cannot be written, or the disk is full; the batches before are safe.
    """
    ledger = StudioLedger(store)
    memory = _Memory(store, target)
    policy = policy or parse(memory.policy)
    tasks = {task.sha256: task for task in ledger.tasks(target)}
    again = str(policy) != memory.policy
    users = client.users()
    _check_annotator(policy, store, users)
    reading = Reading(client, ledger, target, ontology, users, tasks, again, memory.foreign)
    states = store.states()
    # A draft that is thrown away leaves no trace in the task; an adopted task may be older than the newest change read.
    unsure = drafted(store, target) | {task.sha256 for task in tasks.values() if task.task_id not in memory.heard}
    with _spool(store.path.parent) as spool:
        reading.read(unsure, lambda task, found: _keep(spool, task, found))
        gone = reading.gone()
        spool.seek(0)
        store.write_classes(ontology)  # people may have used one that was added since the last run
        ends = _write(store, ledger, target, Judge(policy, ontology), spool, batch)
    ledger.confirm(target, reading.returned)
    ledger.withdraw(target, gone)
    memory.write(str(policy), reading.foreign, [task.task_id for task in ledger.tasks(target, "sent") if task.task_id])
    newest = reading.newest
    if newest is not None and (target.pulled_until is None or moment(newest) > moment(target.pulled_until)):
        ledger.note_pulled(target, newest)
    now = Counter(ends.values())
    return Pulled(
        policy=str(policy),
        changed=reading.changed,
        unchanged=reading.unchanged,
        reviewed=now["reviewed"],
        reviewed_empty=now["reviewed-empty"],
        skipped=now["skipped"],
        several=answered_by_several(store, target),
        taken_back=sum(end == "pushed" and states[sha256] in REVIEWED_STATES for sha256, end in ends.items()),
        withdrawn=len(gone),
        totals=totals(store, target),
        attention=_attention(store, ledger, client, target, reading.foreign),
        foreign=tuple(
            (number, client.task_link(target.project_id, number))
            for number in sorted(reading.foreign)
            if not reading.foreign[number]
        ),
        set_aside=store.reviews_without_photo(),
        teacher=teacher_precision(store, ledger, target),
    )


class _Memory:
    """What the next pull has to know beside the ledger.

    Attributes:
        policy: whose answers counted.
        foreign: why a task is not ours, by its number.
        heard: numbers of the tasks that were read at least once.
    """

    def __init__(self, store: Store, target: Target) -> None:
        self._store = store
        self._key = f"studio pull {target.id}"
        told = json.loads(store.recall(self._key) or "{}")
        self.policy = str(told.get("policy", "latest"))
        self.foreign: dict[int, str] = {int(number): reason for number, reason in told.get("foreign", {}).items()}
        self.heard = {number for first, last in told.get("heard", ()) for number in range(first, last + 1)}

    def write(self, policy: str, foreign: Mapping[int, str], heard: Iterable[int]) -> None:
        spans: list[list[int]] = []
        for number in sorted(heard):
            if spans and number == spans[-1][1] + 1:
                spans[-1][1] = number
            else:
                spans.append([number, number])
        told = json.dumps({"policy": policy, "foreign": dict(sorted(foreign.items())), "heard": spans})
        if self._store.recall(self._key) != told:
            self._store.remember(self._key, told)


def _check_annotator(policy: Policy, store: Store, users: Mapping[int, str]) -> None:
    if policy.kind != "annotator":
        return
    known = {*users.values(), *(name for (name,) in store.rows("SELECT DISTINCT annotator FROM studio_answers"))}
    if policy.mail.casefold() not in {name.casefold() for name in known}:
        raise InputError(
            f"--policy: nobody is called {policy.mail!r} there; known: {', '.join(map(repr, sorted(known)))}"
        )


@contextmanager
def _spool(folder: Path) -> Iterator[IO[str]]:
    """Yield a file without a name for what was read. Raises StateError where the disk has no room for it."""
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder, prefix=".pull-") as file:
            yield file
    except OSError as error:
        raise StateError(
            f"{folder}: what people said cannot be kept there ({error.strerror}): make room and run labelstill pull "
            "again; nothing is lost"
        ) from error


def _keep(spool: IO[str], task: Task, found: list[Answer]) -> None:
    rows = [[getattr(answer, name) for name in _FIELDS] for answer in found]
    spool.write(json.dumps([task.sha256, rows]) + "\n")


def _write(
    store: Store, ledger: StudioLedger, target: Target, judge: Judge, spool: IO[str], batch: int
) -> dict[str, ImageState]:
    """Commit a verdict for each line and return how the images ended, by sha256."""
    sizes = store.sizes()
    ends: dict[str, ImageState] = {}

    def verdicts() -> Iterator[Verdict]:
        for line in spool:
            sha256, rows = json.loads(line)
            found = [Answer(*row) for row in rows]
            yield judge.verdict(sha256, found, ledger.pushed(target, sha256), sizes.get(sha256))

    waiting = verdicts()
    while some := list(islice(waiting, batch)):
        ledger.commit_verdicts(target, some)
        ends |= {verdict.sha256: verdict.state for verdict in some}
    return ends


def _attention(
    store: Store, ledger: StudioLedger, client: StudioClient, target: Target, foreign: Mapping[int, str]
) -> tuple[Attention, ...]:
    def link(number: int | None) -> str:
        return client.task_link(target.project_id, number) if number is not None else ""

    ours = [
        Attention(shown_name(store, task.sha256), task.attention, link(task.task_id))
        for task in ledger.tasks(target)
        if task.attention is not None and task.state != "withdrawn"
    ]
    others = [Attention(f"task {number}", reason, link(number)) for number, reason in foreign.items() if reason]
    return (*ours, *others)
