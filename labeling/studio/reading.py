"""The reading half of a pull: which tasks have something new, which are not ours, which are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from ..core.ontology import Ontology
from ..core.store_studio import Answer, StudioLedger, Target, Task
from ..formats.labelstudio import KEY
from .answers import answers, labels, moment

if TYPE_CHECKING:
    from .client import StudioClient

OVERLAP_S = 300.0
"""How far before the newest change that was read the next pull begins, in seconds."""

_QUICK_S = OVERLAP_S - 60.0
_KEYS = 50
_NAMED = 10

New = Callable[[Task, list[Answer]], None]


@dataclass(slots=True)
class Reading:
    """What one pass over the tasks of a project has found.

    Attributes:
        client: the server.
        ledger: what is known already.
        target: the project.
        ontology: for the labels that may come.
        users: mail address by number of the user.
        tasks: everything that was pushed, by sha256.
        again: take answers that are known already too, because whose answer counts has changed.
        foreign: why a task is not ours, by its number; begins with what earlier pulls found.
        returned: tasks that were taken for deleted and are there, by sha256.
        newest: the newest change that was read, in the server's words.
        unchanged: tasks without anything new.
        changed: tasks with answers that are new, other than drafts.
    """

    client: StudioClient
    ledger: StudioLedger
    target: Target
    ontology: Ontology
    users: Mapping[int, str]
    tasks: Mapping[str, Task]
    again: bool
    foreign: dict[int, str]
    returned: dict[str, int] = field(default_factory=dict)
    newest: str | None = None
    unchanged: int = 0
    changed: int = 0
    _seen: set[int] = field(default_factory=set)
    _heard: set[str] = field(default_factory=set)
    _unknown: dict[str, list[str]] = field(default_factory=dict)
    _owners: dict[int | None, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._owners = {task.task_id: task.sha256 for task in self.tasks.values()}

    def read(self, unsure: set[str], new: New) -> None:
        """Read what has changed and hand on every task of ours with something new, once.

        Args:
            unsure: images whose tasks are read whatever the server says about their last change.
            new: takes a task and all its answers.

        Raises:
            InputError: labels that no class of the ontology answers to.
            ServerError: the server did not answer, or not in the form that it promises.
        """
        began = monotonic()
        since = None if self.again else self._since()
        self._take(self.client.tasks(self.target.project_id, updated_after=since, full=True), new)
        if since is not None:
            self._take(self.client.tasks(self.target.project_id, drafts_only=True, full=True), new)
        waiting = sorted(unsure - self._heard)
        for begin in range(0, len(waiting), _KEYS):
            keys = waiting[begin : begin + _KEYS]
            self._take(self.client.tasks(self.target.project_id, keys=keys, full=True), new)
        self._refuse_unknown()
        if self.newest is not None:
            # A task may have changed after its page was read; what takes long makes the next pull begin earlier.
            late = timedelta(seconds=max(0.0, monotonic() - began - _QUICK_S))
            latest = self._latest() or moment(self.newest)
            if late or latest < moment(self.newest):  # a change from the future would hide all others until then
                self.newest = _text(min(moment(self.newest), latest) - late)

    def gone(self) -> list[str]:
        """Return the images whose tasks people have deleted, by sha256; a listing is made only where the count is off.

        Raises:
            ServerError: the server did not answer.
        """
        sent = {task.task_id: task.sha256 for task in self.tasks.values() if task.state == "sent" and task.task_id}
        sent |= {number: sha256 for sha256, number in self.returned.items()}
        if self.client.count_tasks(self.target.project_id) == len(sent) + len(self.foreign):
            return []
        self.foreign.clear()
        alive = set()
        for raw in self.client.tasks(self.target.project_id):
            alive.add(int(raw["id"]))
            self._own(raw)
        return [sha256 for number, sha256 in sent.items() if number not in alive]

    def _since(self) -> str | None:
        until, latest = self.target.pulled_until, self._latest()
        if until is None or (latest is not None and moment(until) > latest):
            return None  # nothing was read yet, or the server's clock was put back since
        return _text(moment(until) - timedelta(seconds=OVERLAP_S))

    def _latest(self) -> datetime | None:
        """Return the latest time that a change can have by now; the server says whole seconds."""
        now = self.client.clock()
        return None if now is None else now + timedelta(seconds=1)

    def _take(self, raws: Iterator[Mapping[str, Any]], new: New) -> None:
        for raw in raws:
            number, updated = int(raw["id"]), str(raw.get("updated_at") or "")
            if number in self._seen:
                continue
            self._seen.add(number)
            if updated and (self.newest is None or moment(updated) > moment(self.newest)):
                self.newest = updated
            task = self._own(raw)
            if task is None:
                continue
            self._heard.add(task.sha256)
            found = answers(raw, task.sha256, self.users, self.client.task_link(self.target.project_id, number))
            known = {_stamp(one) for one in self.ledger.answers(self.target, task.sha256) if one.task_id == number}
            stamps = {_stamp(one) for one in found}
            if stamps == known and not (self.again and found):
                self.unchanged += 1
                continue
            self.changed += any(kind != "draft" for kind, *_ in stamps ^ known)
            self._note_unknown(found, number)
            new(task, found)

    def _own(self, raw: Mapping[str, Any]) -> Task | None:
        """Return the task as it was pushed, known by its key; note why it is none of ours."""
        number, data = int(raw["id"]), raw.get("data")
        key = data.get(KEY) if isinstance(data, Mapping) else None
        task = self.tasks.get(key) if isinstance(key, str) else None
        if task is not None and task.task_id == number:
            self.foreign.pop(number, None)
            if task.state == "withdrawn":
                self.returned[task.sha256] = number
            return task
        if task is not None:
            self.foreign[number] = f"has the {KEY} of task {task.task_id}: labelstill push keeps the right one"
        elif number in self._owners:
            self.foreign[number] = f"its {KEY} was changed: put back {self._owners[number]}"
        else:
            self.foreign[number] = ""
        return None

    def _note_unknown(self, found: Sequence[Answer], number: int) -> None:
        for answer in found:
            named = set(labels(answer.result)) if answer.kind == "submitted" else ()
            for label in named:
                if self.ontology.class_of(label) is None:
                    link = self.client.task_link(self.target.project_id, number)
                    self._unknown.setdefault(label, []).append(link)

    def _refuse_unknown(self) -> None:
        if not self._unknown:
            return
        rows = sorted(self._unknown.items(), key=lambda row: (-len(row[1]), row[0]))
        shown = ", ".join(f"{label!r} in {len(links)} answers such as {links[0]}" for label, links in rows[:_NAMED])
        more = f" and {len(rows) - _NAMED} more labels" if len(rows) > _NAMED else ""
        raise InputError(
            f"expected the classes of project.yaml, people used {shown}{more}: add each to project.yaml as a class, or "
            "to a class as one of its aliases; nothing of this pull was written"
        )


def _stamp(answer: Answer) -> tuple[str, int, str]:
    return answer.kind, answer.answer_id, answer.updated_at


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
