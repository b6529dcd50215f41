"""Labels on their way to people, exactly once: old doubts settled, server and ledger agreed, then what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

from ..core.store import Store
from ..core.store_studio import StudioLedger, Target, content_hash
from ..queue import Queued, order
from ..trust.parts import note_parts
from .chunks import Packer, Parcel, chunks
from .client import StudioClient
from .media import Media
from .pushed import Pushed, Wishes
from .reconcile import Pause, Stopped, agree, agrees, settle, survey, trusted
from .renewal import Renewal
from .selection import Selection, notes_of, select
from .sending import Sender
from .target import Found

TESTED_VERSION = "1.23."

_UNKNOWN = 0
"""Id of no target: the ledger is empty for it."""

Shown = Callable[[int, int], None]
"""Called with the number of new tasks that people have by now, and of all that they will have."""


def push(
    store: Store,
    client: StudioClient,
    target: Target,
    media: Media,
    wishes: Wishes,
    *,
    pause: Pause,
    shown: Shown = lambda done, of_all: None,
) -> Pushed:
    """Send what is new, and bring up to date what has changed. The project is locked by the caller.

    Args:
        store: labels.db.
        client: of the server.
        target: the project, see ``open_target``.
        media: pictures of that project.
        wishes: see Wishes.
        pause: waits, and says whether to stop after the chunk at hand; ``wait`` of an Event.
        shown: see ``Shown``.

    Raises:
        ServerError: the server refused or did not answer. What was sent is in the ledger; the next push goes on.
        StateError: labels.db cannot be written.
    """
    done = Pushed(warnings=version_warnings(client))
    try:
        _Push(store, client, target, media, wishes, done, pause).run(shown)
    except Stopped:
        done.stopped = True
    return done


def rehearse(store: Store, client: StudioClient, found: Found | None, wishes: Wishes) -> Pushed:
    """Return what a push would do, after reading the server; nothing is written, here or there.

    Args:
        store: labels.db.
        client: of the server.
        found: the project, see ``look_up``; None where a push would make one.
        wishes: see Wishes.

    Raises:
        ServerError: the server did not answer.
    """
    warnings = version_warnings(client)
    if found is None:
        return foresee(store, None, wishes, *warnings)
    target = found.target or Target(_UNKNOWN, client.url, int(found.there["id"]), "", "local", None)
    selection = _selected(store, target, wishes)
    if trusted(client, store, target, selection.new):
        return _foreseen(store, selection, wishes, warnings)
    there = survey(client, store, target)
    gone = set(there.withdrawn)
    selection.new = [sha256 for sha256 in selection.new if sha256 not in there.adopted]
    selection.changed = [sha256 for sha256 in selection.changed if sha256 not in gone]
    selection.asked = {sha256: note for sha256, note in selection.asked.items() if sha256 not in gone}
    done = _foreseen(store, selection, wishes, warnings)
    done.adopted, done.withdrawn = len(there.adopted), len(there.withdrawn)
    return done


def foresee(store: Store, target: Target | None, wishes: Wishes, *warnings: str) -> Pushed:
    """Return what a push would do if the server has what the ledger says; nobody is asked."""
    return _foreseen(store, _selected(store, target, wishes), wishes, list(warnings))


def version_warnings(client: StudioClient) -> list[str]:
    """Return a sentence where the server is of a version that was never tried."""
    version = client.version()
    if version.startswith(TESTED_VERSION):
        return []
    return [f"Label Studio {version} was never tried with labelstill; {TESTED_VERSION}x was"]


class _Push:
    """One push: its parts in the order in which they happen."""

    def __init__(
        self,
        store: Store,
        client: StudioClient,
        target: Target,
        media: Media,
        wishes: Wishes,
        done: Pushed,
        pause: Pause,
    ) -> None:
        self._store = store
        self._client = client
        self._target = target
        self._media = media
        self._wishes = wishes
        self._done = done
        self._pause = pause
        self._ledger = StudioLedger(store)

    def run(self, shown: Shown) -> None:
        arrived = settle(self._client, self._ledger, self._target, fresh=False, pause=self._pause)
        self._done.adopted += len(arrived)
        selection = self._agreed()
        self._done.unchanged, self._done.left_out = selection.unchanged, selection.withdrawn
        self._done.set_aside, self._done.accepted = selection.set_aside, selection.skipped
        waiting = _length(selection.new, self._wishes)
        notes = notes_of(self._store, self._wishes.only)
        packer = Packer(
            self._store,
            self._media,
            self._target.config,
            blind_share=self._wishes.blind_share,
            notes=notes,
            boxes=self._wishes.boxes,
            refuse=self._done.refuse,
        )
        renewal = Renewal(self._client, self._store, self._target, packer, self._pause, self._done)
        if waiting:
            self._send(packer, selection, waiting, shown)
        renewal.change(selection.changed)
        renewal.ask(selection.asked)
        if self._wishes.overlap is not None:
            self._overlap(self._wishes.overlap)
        if self._done.first_link is None:
            known = list(self._ledger.tasks(self._target, "sent"))
            shows = (task for task in known if task.content != content_hash(()) and not task.blind)
            oldest = next(shows, known[0] if known else None)
            self._done.first_link = None if oldest is None else self._link(oldest.sha256)

    def _link(self, sha256: str) -> str | None:
        number = self._ledger.task_id(self._target, sha256)
        return None if number is None else self._client.task_link(self._target.project_id, number)

    def _agreed(self) -> Selection:
        """Return what there is to do once the ledger can be trusted; every task is read only where it cannot."""
        selection = self._select()
        if trusted(self._client, self._store, self._target, selection.new):
            return selection
        self._agree()
        return self._select()

    def _select(self) -> Selection:
        return _selected(self._store, self._target, self._wishes)

    def _agree(self) -> None:
        found = agree(self._client, self._store, self._target)
        self._done.adopted += found.adopted
        self._done.withdrawn += found.withdrawn
        self._done.removed += found.removed
        self._done.attention = found.attention

    def _send(self, packer: Packer, selection: Selection, waiting: int, shown: Shown) -> None:
        def sent(chunk: Sequence[Parcel]) -> None:
            if not self._done.new:
                # People open it to see what came of their words; a blind one shows nothing.
                first = next((one for one in chunk if one.labels and not one.row.blind), chunk[0])
                self._done.first_link = self._link(first.row.sha256)
            self._done.new += len(chunk)
            self._done.blind += sum(parcel.row.blind for parcel in chunk)
            self._done.drawn += sum(parcel.row.drawn for parcel in chunk)
            self._done.audits += sum(parcel.row.sha256 in audits for parcel in chunk)
            shown(self._done.new, waiting - len(self._done.refused))

        audits = frozenset(selection.audits)
        shown(0, waiting)
        queue = _queue(self._store, selection, self._wishes)
        pieces = self._checked(chunks(packer.parcels(queue)), selection.since)
        Sender(self._client, self._ledger, self._target, self._pause).send(pieces, sent)
        # A request that was given up may have been carried out after all.
        if not agrees(self._client, self._store, self._target):
            self._agree()

    def _checked(self, pieces: Iterator[list[Parcel]], since: float) -> Iterator[list[Parcel]]:
        """Pass chunks on, the first picture seen as people will see it, and noted what the lot speaks for."""
        for number, chunk in enumerate(pieces):
            if not number:
                self._media.check(chunk[0].address)
            if since:
                note_parts(self._store, {parcel.row.sha256: since for parcel in chunk if parcel.row.drawn})
            yield chunk

    def _overlap(self, percent: float) -> None:
        wanted = {"maximum_annotations": 2, "overlap_cohort_percentage": round(percent)}
        project = self._client.project(self._target.project_id) or {}
        # Label Studio draws the tasks anew whenever it is told, also when nothing changes.
        if any(project.get(key) != value for key, value in wanted.items()):
            self._client.update_project(self._target.project_id, **wanted)
        self._done.overlap = wanted["overlap_cohort_percentage"]


def _length(images: Sequence[str], wishes: Wishes) -> int:
    return len(images) if wishes.limit is None else min(len(images), wishes.limit)


def _selected(store: Store, target: Target | None, wishes: Wishes) -> Selection:
    return select(
        store,
        target,
        wishes.only,
        again=wishes.again,
        accepted=wishes.accepted,
        audit_share=wishes.audit_share,
    )


def _queue(store: Store, selection: Selection, wishes: Wishes) -> Iterator[Queued]:
    """Return what is sent in order: first the audits of what skips review, since the permission hangs on them."""
    audits = set(selection.audits)
    first = (Queued(sha256, True) for sha256 in selection.new if sha256 in audits)
    others = [sha256 for sha256 in selection.new if sha256 not in audits]
    return islice(chain(first, order(store, others, audit_share=wishes.audit_share)), wishes.limit)


def _foreseen(store: Store, selection: Selection, wishes: Wishes, warnings: list[str]) -> Pushed:
    waiting = list(_queue(store, selection, wishes))
    audits = set(selection.audits)
    return Pushed(
        new=len(waiting),
        drawn=sum(entry.drawn for entry in waiting),
        changed=len(selection.changed),
        unchanged=selection.unchanged,
        asked=len(selection.asked),
        left_out=selection.withdrawn,
        set_aside=selection.set_aside,
        accepted=selection.skipped,
        audits=sum(entry.sha256 in audits for entry in waiting),
        warnings=warnings,
    )
