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
    """Sends chunks, one request at a time; while the server works on one, the next one is made and intended.

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
        self._newest = 0

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
        chunk = next(chunks, None)
        if chunk is None:
            return
        if self._pause(0):
            raise Stopped
        self._newest = self._client.highest_task_id(self._target.project_id)
        self._intend(chunk)
        with ThreadPoolExecutor(1, "push") as background:
            posting: Future[list[int]] | None = self._post(chunk, background)
            while chunk is not None and posting is not None:
                following: Sequence[Parcel] | None = None
                problem: LabelstillError | None = None
                try:
                    following = next(chunks, None)
                    if following is not None:
                        self._intend(following)
                except LabelstillError as error:  # this chunk is on its way: its end is noted first
                    following, problem = None, error
                numbers = self._arrived(chunk, posting, following, background)
                stopped = self._pause(0)
                # The server does not wait until this chunk is noted: that the next one is meant for it stands already.
                going = None if following is None or stopped else self._post(following, background)
                self._ledger.confirm(self._target, numbers)
                sent(chunk)
                if problem is not None:
                    raise problem
                if following is not None and stopped:
                    self._forget(following)
                    raise Stopped
                chunk, posting = following, going

    def _intend(self, chunk: Sequence[Parcel]) -> None:
        # Not the newest of the chunk before: where people delete it, the server gives its number out again.
        rows = [(replace(parcel.row, after_id=self._newest), parcel.labels) for parcel in chunk]
        self._ledger.intend(self._target, rows)

    def _forget(self, chunk: Sequence[Parcel]) -> None:
        self._ledger.forget(self._target, [parcel.row.sha256 for parcel in chunk])

    def _post(self, chunk: Sequence[Parcel], background: ThreadPoolExecutor) -> Future[list[int]]:
        return background.submit(self._client.import_tasks, self._target.project_id, [one.encoded for one in chunk])

    def _arrived(
        self,
        chunk: Sequence[Parcel],
        posting: Future[list[int]],
        following: Sequence[Parcel] | None,
        background: ThreadPoolExecutor,
    ) -> dict[str, int]:
        """Return the numbers of the tasks that the ledger does not know of yet. The following chunk stays intended."""
        for tries in range(1, _ROUNDS + 1):
            images = [parcel.row.sha256 for parcel in chunk]
            try:
                numbers = posting.result()
            except InDoubt:
                numbers = []
            except ServerError:
                self._forget([*chunk, *(following or ())])
                raise
            if len(numbers) == len(images):
                return dict(zip(images, numbers, strict=True))
            self._forget(following or ())  # known not to be there
            arrived = settle(self._client, self._ledger, self._target, fresh=True, pause=self._pause)
            chunk = [parcel for parcel in chunk if parcel.row.sha256 not in arrived]
            if chunk and tries == _ROUNDS:
                break
            self._newest = self._client.highest_task_id(self._target.project_id)
            self._intend([*chunk, *(following or ())])
            if not chunk:
                return {}
            posting = self._post(chunk, background)
        raise ServerError(
            f"{self._client.url}: {len(chunk)} tasks did not arrive in {_ROUNDS} tries: see its log, "
            "then run labelstill push again"
        )
