"""The fake Label Studio answers as the real one: both are asked the same, and both have to give the recorded facts.

The facts are those of the real server. `LABELSTILL_WRITE_SNAPSHOTS=1 .venv/bin/python -m pytest -m server
tests/test_studio_contract.py` records them anew; read the diff.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from labeling.studio.auth import _claims
from tests.fake_studio import LABEL_CONFIG, FakeStudio

pytestmark = pytest.mark.http

RECORDED = Path(__file__).parent / "snapshots" / "studio_contract.json"
Facts = dict[str, Any]

#: What we read of each kind of row; the fake has to have it.
READ = {
    "project": "id title label_config task_number maximum_annotations overlap_cohort_percentage expert_instruction",
    "task": "id data updated_at total_annotations cancelled_annotations overlap",
    "full task": "id data updated_at annotations drafts predictions total_annotations overlap draft_exists",
    "annotation": "id result completed_by created_username was_cancelled created_at updated_at lead_time "
    "draft_created_at parent_prediction",
    "draft": "id user result lead_time created_at updated_at task annotation",
    "prediction": "id model_version score result task",
    "storage": "id path title project use_blob_urls",
    "user": "id email",
    "whoami": "id email",
    "import": "task_count task_ids",
    "upload": "file_upload_ids",
    "file": "id file size",
    "access": "access",
    "version": "release",
}


@dataclass(frozen=True)
class Site:
    """A server to ask.

    Attributes:
        http: sends a personal access token along.
        token: that token.
        legacy: a legacy token, which the server does not accept, and a client of its own for it.
        root: the document root of its local files.
        projects: addresses of those that were made.
    """

    http: httpx.Client
    token: str
    legacy: tuple[httpx.Client, str]
    root: Path
    projects: list[str] = field(default_factory=list)

    def said(self, method: str, path: str, **request: Any) -> list[Any]:
        """Return status, kind and words of an answer."""
        return self.words(self.http.request(method, path, **request))

    def words(self, reply: httpx.Response) -> list[Any]:
        kind = reply.headers.get("content-type", "").partition(";")[0]
        if kind != "application/json" or not reply.content:
            return [reply.status_code, kind if reply.content else ""]
        body = reply.json()
        if not isinstance(body, dict) or "detail" not in body:
            return [reply.status_code, kind]
        text = json.dumps([body["detail"], body.get("validation_errors")])
        return [reply.status_code, kind, *json.loads(text.replace(str(self.root), "ROOT"))]

    def made(self, path: str, body: object) -> Any:
        reply = self.http.post(path, json=body)
        assert reply.status_code == 201, reply.text
        return reply.json()

    def project(self, **fields: object) -> str:
        number = self.made("/api/projects/", {"title": "contract", "label_config": LABEL_CONFIG, **fields})["id"]
        self.projects.append(f"/api/projects/{number}")
        return self.projects[-1]

    def imported(self, project: str, count: int, first: int = 0) -> list[int]:
        tasks = [task(f"k{n}") for n in range(first, first + count)]
        ids: list[int] = self.made(f"{project}/import?return_task_ids=true", tasks)["task_ids"]
        return ids

    def listed(self, project: str, *conditions: object, **params: object) -> Any:
        """Return a page of tasks; of conditions as (column, operator, type, value)."""
        items = [dict(zip(("filter", "operator", "type", "value"), c, strict=True)) for c in conditions]  # type: ignore[call-overload]
        filters = {"conjunction": params.pop("conjunction", "and"), "items": items}
        query = {"filters": filters, "ordering": [params.pop("order", "tasks:id")]}
        number = project.rpartition("/")[2]
        return self.http.get("/api/tasks", params={"project": number, "query": json.dumps(query), **params})  # type: ignore[dict-item]


def task(key: str) -> dict[str, Any]:
    value = {"x": 1, "y": 2, "width": 5, "height": 5, "rotation": 0, "rectanglelabels": ["cat"]}
    region = {"id": f"r{key}", "type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": value}
    predictions = [{"model_version": "m", "score": 0.5, "result": [region]}]
    return {"data": {"image": "/x.png", "labelstill_id": key}, "predictions": predictions}


def shape(row: Mapping[str, Any]) -> dict[str, str]:
    return {key: type(value).__name__ for key, value in row.items()}


# Scenes ------------------------------------------------------------------------------------------------------


def projects(site: Site) -> Facts:
    facts: Facts = {}
    made = site.made("/api/projects/", {"title": "contract", "label_config": LABEL_CONFIG})
    project = f"/api/projects/{made['id']}"
    site.projects.append(project)
    got = site.http.get(f"{project}/").json()
    facts["shape of project"] = shape(got)
    facts["number of tasks, made and got"] = [made["task_number"], got["task_number"]]
    facts["defaults"] = [got[k] for k in ("maximum_annotations", "overlap_cohort_percentage", "expert_instruction")]
    facts["without the slash"] = site.said("GET", project)
    changed = site.http.patch(f"{project}/", json={"title": "changed", "nonsense": 1, "id": 5}).json()
    facts["changed"] = [changed["title"], "nonsense" in changed, changed["id"] == made["id"]]
    for length in (2, 3, 50, 51):
        facts[f"title of {length}"] = site.said("PATCH", f"{project}/", json={"title": "x" * length})
    facts["made without a title"] = site.said("POST", "/api/projects/", json={"title": "x"})
    facts["broken config"] = site.said("PATCH", f"{project}/", json={"label_config": "<View>"})[:2]
    newer = site.project()
    page = site.http.get("/api/projects/", params={"page_size": 1}).json()
    facts["keys of a page"] = sorted(page)
    facts["newest first"] = f"/api/projects/{page['results'][0]['id']}" == newer
    facts["more to come"] = page["next"] is not None
    last = site.http.get("/api/projects/", params={"page_size": 1000}).json()
    facts["no more to come"] = last["next"]
    facts["page behind the end"] = site.said("GET", "/api/projects/?page=9999")
    for method in ("GET", "PATCH", "DELETE"):
        facts[f"{method} of none"] = site.said(method, "/api/projects/999999/", json={} if method == "PATCH" else None)
    facts["deleted"] = [site.said("DELETE", f"{newer}/"), site.said("GET", f"{newer}/")]
    return facts


def imports(site: Site) -> Facts:
    facts: Facts = {}
    project = site.project()
    reply = site.http.post(f"{project}/import?return_task_ids=true", json=[task(f"k{n}") for n in range(5)])
    ids = reply.json()["task_ids"]
    facts["shape of import"] = shape(reply.json())
    facts["counts"] = [reply.json()[k] for k in ("task_count", "annotation_count", "prediction_count")]
    facts["ids in a row"] = [number - ids[0] for number in ids]
    order = [row["data"]["labelstill_id"] for row in site.listed(project).json()["tasks"]]
    facts["ids in the order of the tasks"] = order
    facts["ids only when asked for"] = "task_ids" in site.made(f"{project}/import", [task("k9")])
    bad = [task("k6"), {"data": {"labelstill_id": "k7"}}]
    facts["a key is missing"] = site.said("POST", f"{project}/import", json=bad)
    facts["all or none"] = site.listed(project).json()["total"]
    facts["no tasks"] = site.said("POST", f"{project}/import", json=[])
    nan = b'[{"data": {"image": "x"}, "predictions": [{"score": NaN, "result": []}]}]'
    headers = {"Content-Type": "application/json"}
    facts["no number"] = site.said("POST", f"{project}/import", content=nan, headers=headers)
    facts["no project"] = site.said("POST", "/api/projects/999999/import", json=[task("k")])
    facts["no job"] = site.said("GET", f"{project}/imports/999999/")
    twice = [site.imported(project, 1)[0] for _ in range(2)]
    facts["the same twice"] = twice[0] != twice[1]
    return facts


def lists(site: Site) -> Facts:
    facts: Facts = {}
    project = site.project()
    ids = site.imported(project, 7)
    site.imported(site.project(), 2)
    page = site.listed(project)
    facts["status"] = page.status_code
    facts["keys of a page"] = sorted(page.json())
    facts["shape of task"] = shape(page.json()["tasks"][0])
    facts["shape of full task"] = shape(site.listed(project, fields="all").json()["tasks"][0])

    def found(*conditions: object, **params: object) -> list[Any]:
        reply = site.listed(project, *conditions, **params)
        if reply.status_code != 200:
            return site.words(reply)
        return [reply.json()["total"], [row["id"] - ids[0] for row in reply.json()["tasks"]]]

    some = site.listed(project, include="id,data,created_at", page_size=1).json()["tasks"]
    facts["only what is included"] = [list(row) for row in some]
    after = ("filter:tasks:id", "greater", "Number")
    facts["all"] = found()
    facts["upside down"] = found(order="-tasks:id")
    facts["newest"] = found(order="-tasks:id", page_size=1)
    facts["after the third"] = found((*after, ids[2]))
    facts["after the third, two"] = found((*after, ids[2]), page_size=2)
    facts["after the third, page two"] = found((*after, ids[2]), page_size=2, page=2)
    facts["after the last"] = found((*after, ids[-1]))
    facts["page behind the end"] = found(page_size=3, page=4)
    key = ("filter:tasks:data.labelstill_id", "equal", "String")
    facts["a key"] = found((*key, "k3"))
    facts["a key in capitals"] = found((*key, "K3"))
    facts["part of a key"] = found((*key, "k"))
    facts["a key with a percent sign"] = found((*key, "%6b3"))
    facts["two keys"] = found((*key, "k5"), (*key, "k1"), conjunction="or")
    facts["a key and an id"] = found((*key, "k3"), (*after, ids[4]))
    moved = ("filter:tasks:updated_at", "greater", "Datetime")
    for number in ids[3:6]:
        site.http.patch(f"/api/tasks/{number}/", json={"data": {"image": "/y.png", "labelstill_id": "k"}})
    moment = site.http.get(f"/api/tasks/{ids[3]}/").json()["updated_at"]
    facts["a time"] = [len(moment), moment[10], moment[-1]]
    facts["changed later"] = found((*moved, moment))
    facts["changed later or then"] = found((*moved, moment[:-4] + "Z"))
    for form in ("+00:00", ""):
        facts[f"a time that ends with {form!r}"] = found((*moved, moment[:-1] + form))[:2]
    facts["a time without fraction"] = found((*moved, moment[:19] + "Z"))[:2]
    site.made(f"/api/tasks/{ids[1]}/drafts", {"result": []})
    facts["with drafts"] = found(("filter:tasks:draft_exists", "equal", "Boolean", True))
    facts["without drafts"] = found(("filter:tasks:draft_exists", "equal", "Boolean", False))
    facts["no such project"] = site.said("GET", "/api/tasks?project=999999")
    facts["no project"] = site.said("GET", "/api/tasks")
    facts["empty project"] = [site.listed(site.project()).json()[k] for k in ("total", "tasks")]
    return facts


def people(site: Site) -> Facts:
    facts: Facts = {}
    project = site.project()
    first, second, third = (f"/api/tasks/{number}" for number in site.imported(project, 3))

    def row(path: str) -> Any:
        (found,) = [r for r in site.listed(project, fields="all").json()["tasks"] if path.endswith(f"/{r['id']}")]
        return found

    def moves(path: str, act: Callable[[], object]) -> bool:
        before = row(path)["updated_at"]
        act()
        return bool(row(path)["updated_at"] > before)

    facts["never moved since it was made"] = row(first)["updated_at"] > row(first)["created_at"]
    submitted = site.made(f"{first}/annotations/", {"result": [], "lead_time": 3.5})
    facts["shape of annotation"] = shape(submitted)
    facts["in the list as it was made"] = {
        **shape(row(first)["annotations"][0]),
        "completed_by": type(row(first)["annotations"][0]["completed_by"]).__name__,
    } == shape(submitted)
    facts["who"] = submitted["created_username"].startswith(" ") and submitted["created_username"].endswith(", 1")
    change = f"/api/annotations/{submitted['id']}/"
    facts["edit moves"] = moves(first, lambda: site.http.patch(change, json={"result": [], "lead_time": 5}))
    edited = row(first)["annotations"][0]
    facts["edited"] = [edited["lead_time"], edited["updated_at"] > edited["created_at"]]
    facts["submit moves"] = moves(second, lambda: site.made(f"{second}/annotations/", {"result": []}))
    skip = {"result": [], "was_cancelled": True}
    facts["skip moves"] = moves(third, lambda: site.made(f"{third}/annotations/", skip))
    for name, path in (("submitted", second), ("skipped", third)):
        facts[name] = [row(path)[k] for k in ("total_annotations", "cancelled_annotations", "is_labeled")]
    facts["skipped one is listed"] = [a["was_cancelled"] for a in row(third)["annotations"]]
    facts["draft moves"] = moves(second, lambda: site.made(f"{second}/drafts", {"result": [], "lead_time": 1}))
    draft = row(second)["drafts"][0]
    facts["shape of draft"] = shape(draft)
    facts["draft is of a user's mail"] = "@" in draft["user"]
    facts["draft exists"] = [row(second)["draft_exists"], row(first)["draft_exists"]]
    of = site.made(f"{first}/annotations/{submitted['id']}/drafts", {"result": []})
    facts["draft of an annotation"] = of["annotation"] == submitted["id"]
    done = site.made(f"{second}/annotations/", {"result": [], "draft_id": draft["id"]})
    facts["submitted draft is gone"] = row(second)["drafts"]
    facts["submitted draft is remembered"] = done["draft_created_at"] == draft["created_at"]
    facts["prediction moves"] = moves(
        first, lambda: site.made("/api/predictions/", {"task": row(first)["id"], "result": []})
    )
    data = {"data": {"image": "/z.png"}}
    facts["data moves"] = moves(first, lambda: site.http.patch(f"{first}/", json=data))
    facts["data is replaced"] = row(first)["data"]
    number = site.http.get("/api/predictions/", params={"task": row(first)["id"]}).json()[-1]["id"]
    facts["deleted prediction moves"] = moves(first, lambda: site.http.delete(f"/api/predictions/{number}/"))
    facts["delete moves"] = moves(first, lambda: site.http.delete(change))
    facts["deleted, with its draft"] = [row(first)["annotations"], row(first)["drafts"]]
    facts["deleted twice"] = site.said("DELETE", change)
    facts["edited when deleted"] = site.said("PATCH", change, json={"result": []})
    facts["submitted to none"] = site.said("POST", "/api/tasks/999999/annotations/", json={"result": []})
    facts["changed none"] = site.said("PATCH", "/api/tasks/999999/", json=data)
    return facts


def predictions(site: Site) -> Facts:
    facts: Facts = {}
    (number,) = site.imported(site.project(), 1)
    made = site.made("/api/predictions/", {"task": number, "model_version": "m", "score": 0.25, "result": []})
    facts["shape of prediction"] = shape(made)
    facts["values"] = [made[k] for k in ("model_version", "score", "result")]
    again = site.made("/api/predictions/", {"task": number, "model_version": "m", "score": 0.25, "result": []})
    facts["the same twice"] = again["id"] != made["id"]
    listed = site.http.get("/api/predictions/", params={"task": number}).json()
    facts["listed"] = sorted(row["id"] for row in listed)[-2:] == [made["id"], again["id"]]
    facts["versions"] = sorted(row["model_version"] for row in listed)
    facts["deleted"] = [site.said("DELETE", f"/api/predictions/{made['id']}/") for _ in range(2)]
    facts["of no task"] = site.said("POST", "/api/predictions/", json={"task": 999999, "result": []})
    facts["listed of no task"] = site.said("GET", "/api/predictions/?task=999999")
    return facts


def overlap(site: Site) -> Facts:
    facts: Facts = {}
    project = site.project()
    site.imported(project, 30)

    def seen_by() -> dict[str, int]:
        rows = site.listed(project, page_size=1000).json()["tasks"]
        return dict(sorted(Counter(str(row["overlap"]) for row in rows).items()))

    facts["at first"] = seen_by()
    steps = [(2, 10), (2, 50), (3, 50), (2, 100), (1, 100), (2, 10)]
    for several, percentage in steps:
        fields = {"maximum_annotations": several, "overlap_cohort_percentage": percentage}
        site.http.patch(f"{project}/", json=fields)
        facts[f"{several} people, {percentage} %"] = seen_by()
    site.imported(project, 10, 30)
    facts["after ten more"] = seen_by()
    return facts


def storages(site: Site) -> Facts:
    facts: Facts = {}
    project = site.project()
    number = int(project.rpartition("/")[2])
    folder = site.root / f"contract-{number}"
    folder.mkdir()
    (folder / "a b.png").write_bytes(b"\x89PNG picture")
    file = f"/data/local-files/?d={folder.name}/a%20b.png"
    facts["before"] = site.said("GET", file)

    def storage(path: object) -> dict[str, object]:
        return {"project": number, "path": str(path), "title": "photos", "use_blob_urls": True}

    made = site.made("/api/storages/localfiles/", storage(folder))
    facts["shape of storage"] = shape(made)
    facts["values"] = [made["project"] == number, made["path"] == str(folder), made["title"], made["use_blob_urls"]]
    reply = site.http.get(file)
    facts["after"] = [reply.status_code, reply.headers["content-type"], reply.content == b"\x89PNG picture"]
    facts["no such file"] = site.said("GET", f"/data/local-files/?d={folder.name}/b.png")
    facts["out of the root"] = site.said("GET", "/data/local-files/?d=../../etc/passwd")[:2]
    for name, path in {"root": site.root, "elsewhere": "/usr", "nowhere": site.root / "nowhere"}.items():
        facts[name] = site.said("POST", "/api/storages/localfiles/", json=storage(path))
    listed = site.http.get("/api/storages/localfiles", params={"project": number}).json()
    facts["listed"] = [row["id"] == made["id"] for row in listed]
    other = site.project().rpartition("/")[2]
    facts["listed elsewhere"] = site.http.get("/api/storages/localfiles", params={"project": other}).json()
    facts["listed of none"] = site.said("GET", "/api/storages/localfiles?project=999999")
    return facts


def uploads(site: Site) -> Facts:
    facts: Facts = {}
    project = site.project()
    path = f"{project}/import?commit_to_project=false"
    files = [(f"f{n}", (name, b"%d" % n)) for n, name in enumerate(("c d.png", "a.png", "a.png", "é.png"))]
    reply = site.http.post(path, files=files)
    ids = reply.json()["file_upload_ids"]
    facts["shape of upload"] = shape(reply.json())
    facts["ids in a row"] = [number - ids[0] for number in ids]
    listed = site.http.get(f"{project}/file-uploads", params={"ids": json.dumps(ids)}).json()
    facts["shape of file"] = shape(listed[0])
    facts["listed in a row"] = [row["id"] - ids[0] for row in listed]
    facts["sizes"] = [row["size"] for row in listed]
    facts["below the project"] = {row["file"].rpartition("/")[0] for row in listed} == {
        f"upload/{project.rpartition('/')[2]}"
    }
    facts["ends"] = [row["file"].rpartition("-")[2] for row in listed]
    facts["contents"] = [site.http.get(f"/data/{row['file']}").text for row in listed]
    facts["kind"] = site.http.get(f"/data/{listed[0]['file']}").headers["content-type"]
    facts["listed without ids"] = site.http.get(f"{project}/file-uploads").json()
    facts["listed all"] = len(site.http.get(f"{project}/file-uploads", params={"all": "true"}).json())
    facts["no tasks"] = site.listed(project).json()["total"]
    same = site.http.post(path, files=[("f", ("1.png", b"1")), ("f", ("2.png", b"2"))]).json()
    facts["two in one field"] = len(same["file_upload_ids"])
    facts["a program"] = site.said("POST", path, files=[("f", ("a.exe", b"1"))])
    many = [(f"f{n}", ("a.png", b"1")) for n in range(101)]
    facts["101 files"] = site.said("POST", path, files=many)
    facts["no such file"] = site.said("GET", f"/data/{listed[0]['file']}x".replace(".pngx", "x.png"))
    facts["no such project"] = site.said("GET", "/api/projects/999999/file-uploads?ids=[1]")
    return facts


def deleting(site: Site) -> Facts:
    facts: Facts = {}
    project = site.project()
    ids = [*site.imported(project, 3), *site.imported(project, 3)]
    act = f"/api/dm/actions?id=delete_tasks&project={project.rpartition('/')[2]}"

    def delete(*included: int, **filters: Any) -> list[Any]:
        reply = site.http.post(act, json={"selectedItems": {"all": False, "included": included}, **filters})
        left = [row["id"] - ids[0] for row in site.listed(project).json()["tasks"]]
        return [reply.status_code, reply.json()["processed_items"], left]

    facts["two"] = delete(ids[1], ids[4])
    facts["one of them again"] = delete(ids[1], ids[5])
    facts["none known"] = delete(999999)
    made = {row["id"]: row["created_at"] for row in site.listed(project, order="-tasks:created_at").json()["tasks"]}
    facts["newest made first"] = [number - ids[0] for number in made]
    by_then = {"filter": "filter:tasks:created_at", "operator": "less_or_equal", "type": "Datetime"}
    filters = {"conjunction": "and", "items": [{**by_then, "value": made[ids[2]]}]}
    facts["two, of which one was made by then"] = delete(ids[2], ids[3], filters=filters)
    facts["none is all"] = delete()
    # Whoever keeps a task's id has to compare its key as well.
    facts["ids of deleted tasks are given out again"] = site.imported(project, 1)[0] <= ids[-1]
    facts["of no project"] = site.said("POST", "/api/dm/actions?id=delete_tasks&project=999999", json={})
    return facts


def tokens(site: Site) -> Facts:
    facts: Facts = {}
    reply = site.http.post("/api/token/refresh/", json={"refresh": site.token})
    access = reply.json()["access"]
    facts["shape of access"] = shape(reply.json())
    claims, own = _claims(access) or {}, _claims(site.token) or {}
    facts["lives"] = claims["exp"] - claims["iat"]
    facts["kinds"] = [claims["token_type"], own["token_type"], site.token.startswith("eyJ")]
    facts["without the slash"] = site.said("POST", "/api/token/refresh", json={"refresh": site.token})[:1]
    for name, token in {"garbage": "x", "access": access, "another": site.token[:-4] + "AAAA"}.items():
        facts[f"exchange of {name}"] = site.said("POST", "/api/token/refresh/", json={"refresh": token})
    authorizations = {
        "nothing": "",
        "garbage": "Bearer x",
        "the token itself": f"Bearer {site.token}",
        "the token as legacy": f"Token {site.token}",
        "an unknown legacy token": "Token " + "f" * 40,
    }
    paths = ("/api/current-user/whoami", "/api/projects/999999/", "/data/upload/1/x.png", "/data/local-files/?d=x")
    for name, authorization in authorizations.items():
        for path in paths:
            facts[f"{path} with {name}"] = site.said("GET", path, headers={"Authorization": authorization})
    client, legacy = site.legacy
    headers = {"Authorization": f"Token {legacy}"}
    facts["legacy tokens are off"] = site.words(client.get("/api/current-user/whoami", headers=headers))
    facts["version is open to all"] = site.said("GET", "/api/version", headers={"Authorization": ""})
    facts["shape of version"] = {"release": type(site.http.get("/api/version").json()["release"]).__name__}
    facts["shape of whoami"] = shape(site.http.get("/api/current-user/whoami").json())
    facts["shape of user"] = shape(site.http.get("/api/users").json()[0])
    facts["no such address"] = site.said("GET", "/api/nothing")
    facts["health"] = site.http.get("/health").json()
    return facts


SCENES = [projects, imports, lists, people, predictions, overlap, storages, uploads, deleting, tokens]


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "fake":
        with FakeStudio(files_root=tmp_path) as studio, FakeStudio(tokens="legacy-off") as old:
            legacy = httpx.Client(base_url=old.url)
            with _signed_in(studio.url, studio.token) as http, legacy:
                yield Site(http, studio.token, (legacy, old.token), tmp_path)
        return
    server = request.getfixturevalue("studio_server")
    with _signed_in(server.url, server.token) as http:
        legacy = http.get("/api/current-user/token").json()["token"]
        site = Site(http, server.token, (http, legacy), server.files_root)
        yield site
        for project in site.projects:
            http.delete(f"{project}/")


def _signed_in(url: str, token: str) -> httpx.Client:
    access = httpx.post(f"{url}/api/token/refresh/", json={"refresh": token}).json()["access"]
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {access}"}, timeout=60)


@pytest.mark.parametrize("site", ["fake", pytest.param("real", marks=pytest.mark.server)], indirect=True)
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_server_answers_as_recorded(
    scene: Callable[[Site], Facts], site: Site, request: pytest.FixtureRequest
) -> None:
    facts = json.loads(json.dumps(scene(site)))
    fake = "fake" in request.node.callspec.id
    recorded = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.is_file() else {}
    if not fake and os.environ.get("LABELSTILL_WRITE_SNAPSHOTS") == "1":
        recorded[scene.__name__] = facts
        RECORDED.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    expected = recorded[scene.__name__]
    assert facts.keys() == expected.keys()
    shapes = {name for name in facts if fake and name.startswith("shape of ")}
    assert {name: facts[name] for name in facts.keys() - shapes} == {n: expected[n] for n in expected.keys() - shapes}
    for name in shapes:
        assert facts[name].items() <= expected[name].items(), name
        assert facts[name].keys() >= set(READ[name.removeprefix("shape of ")].split()), name


def test_the_record_covers_all_that_we_read() -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    shapes = {
        name.removeprefix("shape of "): keys
        for facts in recorded.values()
        for name, keys in facts.items()
        if name.startswith("shape of ")
    }
    assert shapes.keys() == READ.keys()
    assert all(shapes[name].keys() >= set(keys.split()) for name, keys in READ.items())
    assert list(recorded) == [scene.__name__ for scene in SCENES]
    assert sum(map(len, recorded.values())) == 176
