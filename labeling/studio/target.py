"""The project in Label Studio that labels go to: found again, or made; never mistaken for another one."""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from ..core.config import write_atomically
from ..core.errors import ServerError, StateError
from ..core.ontology import Ontology
from ..core.store import Store
from ..core.store_studio import Media, StudioLedger, Target
from ..core.strict import read_text
from ..formats.labelstudio import KEY
from ..project import Project
from .config import label_config
from .copies import make_images_folder
from .target_config import fitting_config, fitting_instructions

if TYPE_CHECKING:
    from .client import StudioClient

_IDENTITY = "studio identity"
_DESCRIPTION = "Labels of a machine, to be corrected. By the next line labelstill knows its project again."
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SHORTEST_TITLE, _LONGEST_TITLE = 3, 50  # of Label Studio

_SETTINGS = {
    "show_skip_button": True,
    "enable_empty_annotation": True,
    # People begin with the prediction, see all of it at once, and get the tasks in the order in which they were pushed.
    "show_collab_predictions": True,
    "reveal_preannotations_interactively": False,
    "evaluate_predictions_automatically": False,
    "sampling": "Sequential sampling",
}


class Found(NamedTuple):
    """A project that is there: as the server describes it, and as the ledger knows it, if it does."""

    there: Mapping[str, Any]
    target: Target | None

    @property
    def project_id(self) -> int:
        """Its number."""
        return int(self.there["id"])


def open_target(
    project: Project,
    store: Store,
    client: StudioClient,
    *,
    local: bool,
    upload: bool = False,
    update_config: bool = False,
    new_project: bool = False,
) -> Target:
    """Return the project to push to, made where there is none, its configuration and storage in order.

    Args:
        project: gives the title and the classes.
        store: labels.db, locked for writing.
        client: of the server.
        local: it is the project's own server, which may answer at another port than the last time.
        upload: send pictures instead of serving them from the project folder; later calls stay with it.
        update_config: put right what people have changed in the configuration and that labels need.
        new_project: make another project, whatever is there.

    Raises:
        StateError: the project is gone or became another one, its configuration does not fit, or the server cannot
            serve the pictures; the message says what to do.
        ServerError: the server did not answer, or refused.
        InputError: there are no classes yet, or a folder cannot be made.
    """
    ledger, ontology = StudioLedger(store), project.ontology
    store.write_classes(ontology)  # what people draw has to be known here when it comes back
    folder = make_images_folder(project)
    found = None if new_project else look_up(store, client, local=local)
    identity = _identity(store)
    if not _identity_path(store).exists():
        _identity_path(store).parent.mkdir(exist_ok=True)
        write_atomically(_identity_path(store), f"{identity}\n")
    if found is None:
        there, before = _create(client, project.config.name, ontology, identity), None
        config = str(there["label_config"])
    else:
        there = found.there
        before = None if found.target is None else _moved(ledger, found.target, client.url)
        config = fitting_config(client, there, ontology, before, update=update_config)
    media: Media = "upload" if upload or (before is not None and before.media == "upload") else "local"
    target = ledger.save_target(client.url, int(there["id"]), config=config, media=media)
    fitting_instructions(store, client, there, target, ontology)
    if media == "local":
        _ensure_storage(client, target, folder, local=local)
    return target


def find_target(store: Store, client: StudioClient, *, local: bool) -> Target:
    """Return the project that was pushed to, for those who read what people said there; nothing is made.

    Raises:
        StateError: nothing was pushed yet, or the project is gone or became another one.
        ServerError: the server did not answer, or refused.
    """
    found = look_up(store, client, local=local)
    if found is None or found.target is None:
        push = f"labelstill push --project {shlex.quote(str(store.path.parent))}"
        raise StateError(f"{store.path}: nothing was pushed to {client.url} yet: {push}")
    return _moved(StudioLedger(store), found.target, client.url)


def look_up(store: Store, client: StudioClient, *, local: bool) -> Found | None:
    """Return the project of this labels.db on this server, None where there is none; nothing is written anywhere.

    Raises:
        StateError: the ledger knows a project that is gone or became another one.
        ServerError: the server did not answer, or refused.
    """
    mark = _mark(_known_identity(store))
    targets = StudioLedger(store).targets()
    here = [target for target in targets if target.url == client.url]
    if here:
        newest = here[-1]
        there = client.project(newest.project_id)
        name = f"project {newest.project_id} on {client.url}"
        if there is None:
            raise StateError(f"{name}: is gone: to start over in another one, labelstill push --new-project")
        if not _carries(there, mark):
            raise StateError(
                f"{name}: expected the line {mark!r} in its description, which tells that it is the project of "
                f"{store.path}: put the line back, or labelstill push --new-project"
            )
        return Found(there, newest)
    homes = {target.url for target in targets if urlsplit(target.url).hostname in _LOOPBACK}
    if local and len(homes) == 1:
        (home,) = homes
        newest = next(target for target in reversed(targets) if target.url == home)
        there = client.project(newest.project_id)
        if there is not None and _carries(there, mark):
            return Found(there, newest)
    marked = [there for there in client.projects() if _carries(there, mark)]
    if not marked:
        return None
    there = max(marked, key=lambda there: int(there["id"]))
    same = (one for one in reversed(targets) if one.project_id == int(there["id"]) and _is_it(store, client, one))
    return Found(there, next(same, None))


def _is_it(store: Store, client: StudioClient, target: Target) -> bool:
    """Say whether a target is a project of this server, which had another address before: its newest task tells."""
    sent = [task for task in StudioLedger(store).tasks(target, "sent") if task.task_id]
    newest = max(sent, key=lambda task: task.task_id or 0, default=None)
    if newest is None or newest.task_id is None:
        return False
    found = next(client.tasks(target.project_id, after_id=newest.task_id - 1), None)
    return found is not None and found["id"] == newest.task_id and found["data"].get(KEY) == newest.sha256


def _known_identity(store: Store) -> str | None:
    """Return by what the project is known; a labels.db that was made anew takes that of the lost one."""
    known = store.recall(_IDENTITY)
    path = _identity_path(store)
    return known or (read_text(path, 100).strip() if path.is_file() else None)


def _identity(store: Store) -> str:
    known = _known_identity(store) or uuid.uuid4().hex
    if store.recall(_IDENTITY) != known:
        store.remember(_IDENTITY, known)
    return known


def _identity_path(store: Store) -> Path:
    return store.path.parent / "studio" / "identity"


def _mark(identity: str | None) -> str:
    """Return the line of a description by which the project of a labels.db is known again; "" without identity."""
    return f"labelstill {identity}" if identity else ""


def _carries(there: Mapping[str, Any], mark: str) -> bool:
    return bool(mark) and mark in str(there.get("description") or "").splitlines()


def _moved(ledger: StudioLedger, target: Target, url: str) -> Target:
    """Note where the server of a target answers now; its other projects have moved with it."""
    if target.url == url:
        return target
    moved = [ledger.move_target(one, url) for one in ledger.targets() if one.url == target.url]
    return next(one for one in moved if one.id == target.id)


def _create(client: StudioClient, name: str, ontology: Ontology, identity: str) -> Mapping[str, Any]:
    return client.create_project(
        title=_title(name),
        description=f"{_DESCRIPTION}\n{_mark(identity)}",
        label_config=label_config(ontology),
        **_SETTINGS,
    )


def _title(name: str) -> str:
    title = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    return (title if len(title) >= _SHORTEST_TITLE else f"{title} labels".strip())[:_LONGEST_TITLE].rstrip()


def _ensure_storage(client: StudioClient, target: Target, folder: Path, *, local: bool) -> None:
    """Let the server hand out the copies, once."""
    known = client.local_storages(target.project_id)
    # Another server may see the folder under another path, as in a container; what people have set up there counts.
    if any(storage.get("path") == str(folder) or not local for storage in known):
        return
    try:
        client.create_local_storage(target.project_id, str(folder), "labelstill")
    except ServerError as error:
        if local:
            raise
        raise StateError(
            f"{target.url}: cannot serve pictures from {folder} ({error}): labelstill push --upload, or let it see "
            f"that folder below its document root and add it to project {target.project_id} as a local storage"
        ) from error
