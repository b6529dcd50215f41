"""Labels and instructions of a project in Label Studio, kept fitting to the classes; what people write there stays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..core.errors import StateError
from ..core.ontology import Ontology
from ..core.store import Store
from ..core.store_rows import to_json
from ..core.store_studio import Target
from .config import ConfigDiff, check_config, instructions, updated_config

if TYPE_CHECKING:
    from .client import StudioClient

Row = Mapping[str, Any]


def fitting_config(client: StudioClient, there: Row, ontology: Ontology, before: Target | None, *, update: bool) -> str:
    """Return the configuration of a project after what pushed labels need was added.

    A class that is new since the last push is added without asking; what people took away is not.

    Args:
        client: of the server.
        there: the project as the server describes it.
        ontology: its classes.
        before: what the ledger says, with the configuration that was written last; None where it says nothing.
        update: put back what people took away.

    Raises:
        StateError: people took away what is needed; the message lists it.
        InputError: the configuration cannot be completed.
        ServerError: the server refused.
    """
    config = str(there["label_config"])
    diff = check_config(config, ontology)
    if diff.fits:
        return config
    new = check_config(before.config, ontology).missing_labels if before is not None else ()
    if (taken := _taken_away(diff, new)) and not update:
        raise StateError(
            f"project {there['id']} on {client.url}: its labelling configuration was changed there, and needs "
            f"{taken}: put it back there, or labelstill push --update-config"
        )
    changed = client.update_project(int(there["id"]), label_config=updated_config(config, ontology))
    return str(changed["label_config"])


def fitting_instructions(store: Store, client: StudioClient, there: Row, target: Target, ontology: Ontology) -> None:
    """Tell people what the guides of the classes say now, unless they have written instructions of their own."""
    key, words = f"studio instructions {target.id}", instructions(ontology)
    said = str(there.get("expert_instruction") or "")
    ours, as_kept = json.loads(store.recall(key) or '["", ""]')
    if words == ours or said != as_kept:
        return
    if words != said:
        changed = client.update_project(target.project_id, expert_instruction=words, show_instruction=bool(words))
        said = str(changed.get("expert_instruction") or "")
    # The server may keep them in other words, such as with other escapes.
    store.remember(key, to_json([words, said]))


def _taken_away(diff: ConfigDiff, new: tuple[str, ...]) -> str:
    controls = [f"the control {name!r}" for name in diff.missing_controls]
    return ", ".join(controls + [f"the label {name!r}" for name in diff.missing_labels if name not in new])
