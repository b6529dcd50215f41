"""Chunks of tasks on their way: intent, one request, confirmation; on doubt the server is read before anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from ..core.errors import LabelstillError, ServerError
from ..core.store_studio import StudioLedger, Target
from .chunks import Parcel
from .client import InDoubt, StudioClient
from .reconcile import Pause, Stopped, settle

_ROUNDS = 3

Sent = Callable[[Sequence[Parcel]], None]
"""Called with every chunk once the server is known to have all of it."""


class Sender:
    """Sends chunks, one request at a time; the next chunk is made while the server works on this one.

    Only the request itself runs in another thread. The ledger is written by the caller's.

    Args:
        client: not used by anyone else while a chunk is on its way.
        ledger: of the store.
        target: where to.
        pause: see ``reconcile.Pause``.
    """

    def __init__(self, client: StudioClient, ledger: StudioLedger, target: Target, pause: Pause) -> None:
        self._client = client
        self._ledger = ledger
        self._target = target
        self._pause = pause

    def send(self, chunks: Iterator[Sequence[Parcel]], sent: Sent) -> None:
        """Send every chunk.

        Args:
            chunks: made when they are asked for.
            sent: see ``Sent``.

        Raises:
            ServerError: the server refused a chunk, which is forgotten then, or left it in doubt, which the next push
                settles.
            Stopped: the user asked to stop; no chunk is half sent.
        """
        with ThreadPoolExecutor(1, "push") as background:
            chunk = next(chunks, None)
            while chunk is not None:
                if self._pause(0):
                    raise Stopped
                posting = self._post(chunk, background)
                following: Sequence[Parcel] | None = None
                problem: LabelstillError | None = None
                try:
                    following = next(chunks, None)
                except LabelstillError as error:  # this chunk is on its way: its end is noted first
                    problem = error
                self._finish(chunk, posting, background)
                sent(chunk)
                if problem is not None:
                    raise problem
                chunk = following

    def _post(self, chunk: Sequence[Parcel], background: ThreadPoolExecutor) -> Future[list[int]]:
        after = self._client.highest_task_id(self._target.project_id)
        self._ledger.intend(self._target, [(replace(parcel.row, after_id=after), parcel.labels) for parcel in chunk])
        return background.submit(self._client.import_tasks, self._target.project_id, [dict(one.body) for one in chunk])

    def _finish(self, chunk: Sequence[Parcel], posting: Future[list[int]], background: ThreadPoolExecutor) -> None:
        for tries in range(1, _ROUNDS + 1):
            images = [parcel.row.sha256 for parcel in chunk]
            try:
                numbers = posting.result()
            except InDoubt:
                numbers = []
            except ServerError:
                self._ledger.forget(self._target, images)
                raise
            if len(numbers) == len(images):
                self._ledger.confirm(self._target, dict(zip(images, numbers, strict=True)))
                return
            arrived = settle(self._client, self._ledger, self._target, fresh=True, pause=self._pause)
            chunk = [parcel for parcel in chunk if parcel.row.sha256 not in arrived]
            if not chunk:
                return
            if tries == _ROUNDS:
                break
            posting = self._post(chunk, background)
        raise ServerError(
            f"{self._client.url}: {len(chunk)} tasks did not arrive in {_ROUNDS} tries: see its log, "
            "then run labelstill push again"
        )
