"""Tasks that are on the server already: labels that changed since, and what people shall look at again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core.errors import ServerError
from ..core.store import Store
from ..core.store_studio import StudioLedger, Target, Task, content_hash
from .adopt import region_ids
from .chunks import ASK_KEY, Packer
from .client import InDoubt, StudioClient
from .pushed import Pushed
from .reconcile import FRESH_WAITS_S, Pause, Stopped, by_keys, is_touched, key_of

_PIECE = 50
_ROUNDS = 3


class Renewal:
    """Brings tasks up to date, one at a time; each step can be cut off anywhere and repeated. Counts in ``done``."""

    def __init__(
        self, client: StudioClient, store: Store, target: Target, packer: Packer, pause: Pause, done: Pushed
    ) -> None:
        self._client = client
        self._store = store
        self._ledger = StudioLedger(store)
        self._target = target
        self._packer = packer
        self._pause = pause
        self._done = done

    def change(self, sha256s: Sequence[str]) -> None:
        """Show people the labels of now, in tasks that nobody has touched. Raises ServerError and Stopped."""
        if not sha256s:
            return
        rows = {task.sha256: task for task in self._ledger.tasks(self._target, "sent")}
        for some in _pieces(sha256s):
            renewed = []
            for task in by_keys(self._client, self._target, some, full=True):
                row = rows[key_of(task)]
                if task["id"] != row.task_id:
                    continue
                if is_touched(task):
                    self._done.answered += 1
                    continue
                labels = self._packer.labels(row.sha256, "pushed")
                made = self._packer.prediction(row.sha256, labels, task["data"])
                if made is None:
                    continue
                if not row.blind:
                    self._show(task, row, made)
                version = str(made.get("model_version") or "")
                renewed.append((replace(row, content=content_hash(labels), model_version=version), labels))
                self._done.changed += 1
            self._ledger.intend(self._target, renewed)
            _stop_if_asked(self._pause)

    def ask(self, notes: Mapping[str, str]) -> None:
        """Write into tasks what people shall look at again, where it does not stand there yet. Raises ServerError."""
        for some in _pieces(list(notes)):
            for task in by_keys(self._client, self._target, some, full=False):
                data, note = task["data"], notes[key_of(task)]
                if data.get(ASK_KEY) != note:
                    self._client.update_task(task["id"], data={**data, ASK_KEY: note})
                    self._done.asked += 1
            _stop_if_asked(self._pause)

    def _show(self, task: Mapping[str, Any], row: Task, made: Mapping[str, Any]) -> None:
        """Leave the task with one prediction of ours, the new one; those of others stay."""
        wanted = region_ids(made)
        listed: Sequence[Mapping[str, Any]] = task.get("predictions") or ()
        shown = _same(listed, wanted, made)
        for _ in range(_ROUNDS):
            if shown is not None:
                break
            try:
                shown = int(self._client.create_prediction(task=task["id"], **made)["id"])
            except InDoubt:
                shown = self._arrived(task["id"], wanted, made)
        if shown is None:
            link = self._client.task_link(self._target.project_id, task["id"])
            raise ServerError(f"{link}: the server did not take the new labels in {_ROUNDS} tries: run push again")
        for one in listed:
            ours = one.get("model_version") == row.model_version or region_ids(one) == wanted
            if ours and one["id"] != shown:
                self._client.delete_prediction(one["id"])

    def _arrived(self, task_id: int, wanted: Sequence[str], made: Mapping[str, Any]) -> int | None:
        for wait in FRESH_WAITS_S:
            shown = _same(self._client.predictions(task_id), wanted, made)
            if shown is not None:
                return shown
            if self._pause(wait):
                raise Stopped
        return _same(self._client.predictions(task_id), wanted, made)


def _same(listed: Sequence[Mapping[str, Any]], wanted: Sequence[str], made: Mapping[str, Any]) -> int | None:
    """Return the oldest prediction that shows exactly these regions, None where there is none."""
    version = made.get("model_version")
    same = [one for one in listed if region_ids(one) == wanted and (wanted or one.get("model_version") == version)]
    return min((int(one["id"]) for one in same), default=None)


def _stop_if_asked(pause: Callable[[float], bool]) -> None:
    if pause(0):
        raise Stopped


def _pieces(sha256s: Sequence[str]) -> list[Sequence[str]]:
    return [sha256s[start : start + _PIECE] for start in range(0, len(sha256s), _PIECE)]
