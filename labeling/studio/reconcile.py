"""Server and ledger made to agree: what did arrive, what people deleted, what is there twice, what the ledger lost."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..core.store import Store
from ..core.store_studio import StudioLedger, Target
from ..formats.labelstudio import KEY
from .adopt import adopted
from .client import StudioClient

Pause = Callable[[float], bool]
"""Waits so many seconds; true when the user asked to stop meanwhile, as ``threading.Event.wait`` does."""

FRESH_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 14.0)
"""A server that did not answer in time may still be writing."""

OLD_WAITS_S = (1.0, 2.0)
"""The push that left the doubt ended before this one began."""

_KEYS_PER_REQUEST = 50


class Stopped(Exception):
    """The user asked to stop while it was not known yet what the server has."""


@dataclass(slots=True)
class Survey:
    """What the server has, compared with the ledger; images by sha256.

    Attributes:
        adopted: tasks with our key that the ledger does not know as sent, by image.
        moved: images whose task has another number than the ledger says.
        withdrawn: images whose task people deleted.
        doubled: all tasks of an image that has several, the lowest number first.
        others: how many tasks are of no photo that is known here.
        keyed: how many of those carry a key of ours all the same.
        newest: number and key of the newest task.
    """

    adopted: dict[str, int] = field(default_factory=dict)
    moved: dict[str, int] = field(default_factory=dict)
    withdrawn: list[str] = field(default_factory=list)
    doubled: dict[str, list[int]] = field(default_factory=dict)
    others: int = 0
    keyed: int = 0
    newest: tuple[int, str] = (0, "")


@dataclass(slots=True)
class Agreement:
    """What it took to make server and ledger agree.

    Attributes:
        adopted: tasks that the ledger knows from now on.
        withdrawn: tasks that people have deleted since.
        removed: second tasks of an image that nobody had touched.
        attention: what only people can put right.
    """

    adopted: int = 0
    withdrawn: int = 0
    removed: int = 0
    attention: list[str] = field(default_factory=list)


def settle(client: StudioClient, ledger: StudioLedger, target: Target, *, fresh: bool, pause: Pause) -> set[str]:
    """Find out which intended tasks have arrived, and forget those that have not; return the images that have.

    Args:
        fresh: the doubt is of this process, so that the server may still be writing: more looks at what is missing.
        pause: see ``Pause``.

    Raises:
        ServerError: the server did not answer; the intents stay.
        Stopped: the user asked to stop; the intents stay.
    """
    open_tasks = {task.sha256 for task in ledger.tasks(target, "intended")}
    arrived: set[str] = set()
    for wait in (*(FRESH_WAITS_S if fresh else OLD_WAITS_S), None):
        if not open_tasks:
            return arrived
        found = _arrived(client, target, open_tasks)
        ledger.confirm(target, found)
        arrived |= found.keys()
        open_tasks -= found.keys()
        if open_tasks and wait is not None and pause(wait):
            raise Stopped
    ledger.forget(target, open_tasks)
    return arrived


def _arrived(client: StudioClient, target: Target, open_tasks: Collection[str]) -> dict[str, int]:
    """Look for the keys and not behind the last number: the numbers of deleted tasks are given out again."""
    found: dict[str, int] = {}
    for task in by_keys(client, target, sorted(open_tasks), full=False):
        # Of two the older one: the other is a double, which the comparison of the whole project removes.
        found.setdefault(key_of(task), task["id"])
    return found


def agrees(client: StudioClient, store: Store, target: Target) -> bool:
    """Say by two small requests whether the server has the tasks that the ledger knows, and no further ones.

    A new task gets the number after the highest one there is. So as many tasks as are known, of which the newest one
    is still the newest one, are the known ones.
    """
    ledger = StudioLedger(store)
    last = json.loads(store.recall(_key(target)) or "{}")
    known = ledger.counts(target)["sent"] + last.get("others", 0)
    if client.count_tasks(target.project_id) != known:
        return False
    newest = max((last.get("highest", 0), last.get("key", "")), ledger.newest_sent(target))
    found = islice(client.tasks(target.project_id, after_id=newest[0] - 1), 2) if known else ()
    return [(task["id"], key_of(task)) for task in found] == ([newest] if known else [])


def trusted(client: StudioClient, store: Store, target: Target, new: Sequence[str]) -> bool:
    """Say whether the ledger alone can tell what is to be sent.

    It cannot where the server had tasks of photos that were not known here: they may be among the new ones by now.
    """
    unknown = json.loads(store.recall(_key(target)) or "{}").get("keyed", 0)
    return agrees(client, store, target) and not (new and unknown)


def survey(client: StudioClient, store: Store, target: Target) -> Survey:
    """Compare every task of a project with the ledger; nothing is written, here or there."""
    rows = {task.sha256: task for task in StudioLedger(store).tasks(target)}
    images = store.states()
    found = Survey()
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for task in client.tasks(target.project_id):
        key = key_of(task)
        found.newest = (task["id"], key)
        if key in images:
            numbers[key].append(task["id"])
        else:
            found.others += 1
            found.keyed += bool(key)
    for sha256, ids in numbers.items():
        row = rows.get(sha256)
        if len(ids) > 1:
            found.doubled[sha256] = sorted(ids)
        if row is None or row.state != "sent":
            found.adopted[sha256] = min(ids)
        elif row.task_id not in ids:
            found.moved[sha256] = min(ids)
    found.withdrawn = [sha256 for sha256, row in rows.items() if row.state == "sent" and sha256 not in numbers]
    return found


def agree(client: StudioClient, store: Store, target: Target) -> Agreement:
    """Compare the whole project and put right what can be: adopt, withdraw, remove doubles. Raises ServerError."""
    ledger = StudioLedger(store)
    found = survey(client, store, target)
    done = Agreement(withdrawn=len(found.withdrawn))
    ledger.withdraw(target, found.withdrawn)
    kept, removed, left = _one_each(client, target, found.doubled, done)
    for sha256 in found.doubled:
        if sha256 in found.adopted:
            found.adopted[sha256] = kept[sha256]
        else:
            found.moved[sha256] = kept[sha256]
    if removed:
        client.delete_tasks(target.project_id, removed)
    done.removed = len(removed)
    ledger.confirm(target, found.moved)
    sizes = store.sizes() if found.adopted else {}
    for some in _pieces(list(found.adopted)):
        wanted = {found.adopted[sha256] for sha256 in some}
        tasks = [task for task in _full(client, target, some) if task["id"] in wanted]
        ledger.intend(target, [adopted(store, key_of(task), task, sizes.get(key_of(task))) for task in tasks])
        ledger.confirm(target, {key_of(task): task["id"] for task in tasks})
        done.adopted += len(tasks)
    number, key = (0, "") if found.newest[0] in removed else found.newest
    seen = {"others": found.others + left, "keyed": found.keyed, "highest": number, "key": key}
    store.remember(_key(target), json.dumps(seen))
    return done


def _one_each(
    client: StudioClient, target: Target, doubled: Mapping[str, list[int]], done: Agreement
) -> tuple[dict[str, int], list[int], int]:
    """Return which task of each image is kept, which can go, and how many stay beside the kept ones."""
    kept: dict[str, int] = {}
    removed: list[int] = []
    left = 0
    for some in _pieces(list(doubled)):
        touched: defaultdict[str, list[int]] = defaultdict(list)
        for task in _full(client, target, some):
            if is_touched(task):
                touched[key_of(task)].append(task["id"])
        for sha256 in some:
            answered = touched[sha256]
            kept[sha256] = answered[0] if answered else doubled[sha256][0]
            removed += [number for number in doubled[sha256] if number != kept[sha256] and number not in answered]
            left += max(0, len(answered) - 1)
            if len(answered) > 1:
                links = " and ".join(client.task_link(target.project_id, number) for number in answered)
                done.attention.append(f"{links}: people answered several tasks of one photo: delete all but one there")
    return kept, removed, left


def is_touched(task: Mapping[str, Any]) -> bool:
    """Say whether people have answered, skipped or begun a task that was listed in full."""
    return bool(task.get("annotations") or task.get("drafts"))


def key_of(task: Mapping[str, Any]) -> str:
    """Return the sha256 that a task carries, empty where it carries none."""
    data = task.get("data")
    key = data.get(KEY) if isinstance(data, Mapping) else None
    return key if isinstance(key, str) else ""


def by_keys(client: StudioClient, target: Target, sha256s: Sequence[str], *, full: bool) -> list[dict[str, Any]]:
    """Return the tasks of at most a few hundred images."""
    return [
        task
        for some in _pieces(sha256s)
        for task in client.tasks(target.project_id, keys=some, full=full)
        if key_of(task) in some
    ]


def _full(client: StudioClient, target: Target, sha256s: Sequence[str]) -> list[dict[str, Any]]:
    return by_keys(client, target, sha256s, full=True)


def _pieces(sha256s: Sequence[str]) -> list[Sequence[str]]:
    return [sha256s[start : start + _KEYS_PER_REQUEST] for start in range(0, len(sha256s), _KEYS_PER_REQUEST)]


def _key(target: Target) -> str:
    return f"studio survey {target.id}"
