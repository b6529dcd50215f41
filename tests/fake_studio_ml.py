"""Machine-learning backends and webhooks of the fake Label Studio; importing this adds their addresses."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any
from weakref import WeakKeyDictionary

from tests.fake_studio_records import Call, Records, Reply, Row, refuse
from tests.fake_studio_routes import at, row_of


class Models:
    """What hangs on one fake server.

    Attributes:
        local_models: models may answer from its own machine (LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false).
        local_webhooks: webhooks may lead there too (LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false).
    """

    def __init__(self) -> None:
        self.backends: dict[int, Row] = {}
        self.webhooks: dict[int, Row] = {}
        self.local_models, self.local_webhooks = True, False


_MODELS: WeakKeyDictionary[Records, Models] = WeakKeyDictionary()


def models(records: Records) -> Models:
    return _MODELS.setdefault(records, Models())


def ask(url: str, body: Any = None) -> Any:
    """Ask a backend as Label Studio does."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def _validate(records: Records, fields: Row) -> None:
    url = fields["url"]
    if not models(records).local_models:
        refuse(403, "URL resolves to a reserved network address (block: 127.0.0.0/8)")
    try:
        ask(f"{url}/health")
        said = ask(f"{url}/setup", {"project": "1.2", "schema": "<View/>", "access_token": "secret"})
    except (urllib.error.URLError, OSError) as error:
        text = f"Can't connect to ML backend {url}, health check failed. Additional info: {error}"
        refuse(400, "Validation error", {"non_field_errors": [text]})
    fields["model_version"] = said["model_version"]


@at("GET", "/api/ml")
def backends(records: Records, call: Call, user: int) -> Reply:
    number = int(call.query["project"])
    row_of(records.projects, number, "Project")
    return Reply(200, [row for row in models(records).backends.values() if row["project"] == number])


@at("POST", "/api/ml")
def add_backend(records: Records, call: Call, user: int) -> Reply:
    fields, there = call.json(), models(records)
    _validate(records, fields)
    row = {"id": records.new_id("ml"), "is_interactive": False, **fields}
    there.backends[row["id"]] = row
    # The real server keeps the backend where it refuses the webhook.
    if not there.local_webhooks:
        refuse(403, "URL resolves to a reserved network address (block: 127.0.0.0/8)")
    hook = records.new_id("webhooks")
    there.webhooks[hook] = {"id": hook, "project": row["project"], "url": f"{row['url']}/webhook"}
    project = records.projects[row["project"]]
    if not project.get("model_version"):
        project["model_version"] = row["title"]
    return Reply(201, row)


@at("PATCH", "/api/ml/#")
def change_backend(records: Records, call: Call, user: int, number: int) -> Reply:
    row, fields = row_of(models(records).backends, number, "MLBackend"), call.json()
    _validate(records, {**row, **fields})
    row.update(fields)
    return Reply(200, row)


@at("DELETE", "/api/ml/#")
def remove_backend(records: Records, call: Call, user: int, number: int) -> Reply:
    row_of(models(records).backends, number, "MLBackend")
    del models(records).backends[number]
    return Reply(204)


@at("GET", "/api/webhooks")
def webhooks(records: Records, call: Call, user: int) -> Reply:
    number = int(call.query["project"])
    return Reply(200, [row for row in models(records).webhooks.values() if row["project"] == number])


@at("DELETE", "/api/webhooks/#")
def remove_webhook(records: Records, call: Call, user: int, number: int) -> Reply:
    del models(records).webhooks[number]
    return Reply(204)
