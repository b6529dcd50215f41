"""People at a Label Studio, played through its API: they sign up, look at predictions, draw, submit, skip."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

_CSRF = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Annotator:
    """One person with a login of their own."""

    def __init__(self, url: str, email: str, password: str) -> None:
        self.email = email
        self._web = httpx.Client(base_url=url, timeout=60, headers={"Referer": url})
        self._send_form("/user/login/", email, password)

    @classmethod
    def signed_up(cls, host: Annotator, email: str, password: str) -> Annotator:
        """Return a new person who took the invitation of another one."""
        url = str(host._web.base_url)
        guest = httpx.Client(base_url=url, timeout=60, headers={"Referer": url})
        address = host.get("/api/invite")["invite_url"]
        form = guest.get(address)
        data = {"email": email, "password": password, "csrfmiddlewaretoken": _CSRF.findall(form.text)[0]}
        answer = guest.post(address, data=data)
        guest.close()
        assert answer.status_code == 302, answer.text[:300]
        return cls(url.rstrip("/"), email, password)

    def close(self) -> None:
        self._web.close()

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self._web.get(path, params=parameters)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Any) -> Any:
        answer = self._web.post(path, json=body, headers={"X-CSRFToken": self._web.cookies["csrftoken"]})
        answer.raise_for_status()
        return answer.json()

    def delete(self, path: str) -> None:
        token = self._web.cookies["csrftoken"]
        self._web.delete(path, headers={"X-CSRFToken": token}).raise_for_status()

    def tasks(self, project_id: int) -> list[dict[str, Any]]:
        """Return all tasks with predictions and annotations, in the order in which they were pushed."""
        asked = {"project": project_id, "fields": "all", "page_size": 1000, "resolve_uri": "false"}
        tasks: list[dict[str, Any]] = self.get("/api/tasks", **asked)["tasks"]
        return sorted(tasks, key=lambda task: task["id"])

    def submit(self, task: dict[str, Any], result: Sequence[Any], seconds: float = 10.0) -> int:
        """Submit regions for a task, as an edit of its prediction where it has one."""
        body: dict[str, Any] = {"result": list(result), "lead_time": seconds}
        if task["predictions"]:
            body["parent_prediction"] = task["predictions"][0]["id"]
        return int(self.post(f"/api/tasks/{task['id']}/annotations/", body)["id"])

    def skip(self, task: dict[str, Any]) -> None:
        self.post(f"/api/tasks/{task['id']}/annotations/", {"result": [], "was_cancelled": True})

    def draft(self, task: dict[str, Any], result: Sequence[Any]) -> None:
        self.post(f"/api/tasks/{task['id']}/drafts", {"result": list(result), "lead_time": 1.0})

    def _send_form(self, path: str, email: str, password: str) -> None:
        token = _CSRF.findall(self._web.get(path).text)[0]
        data = {"email": email, "password": password, "csrfmiddlewaretoken": token}
        answer = self._web.post(path, data=data)
        assert answer.status_code == 302, f"{email} could not log in"


def region(region_id: str, kind: str, value: dict[str, Any], label: str, size_wh: tuple[int, int]) -> dict[str, Any]:
    """Return a region as the editor makes it; ``kind`` is rectanglelabels, polygonlabels or brushlabels."""
    control = {"rectanglelabels": "box", "polygonlabels": "polygon", "brushlabels": "mask"}[kind]
    return {
        "id": region_id,
        "type": kind,
        "from_name": control,
        "to_name": "image",
        "original_width": size_wh[0],
        "original_height": size_wh[1],
        "image_rotation": 0,
        "origin": "manual",
        "value": {**value, kind: [label]},
    }


def rectangle(box_xyxy: Sequence[float], size_wh: tuple[int, int]) -> dict[str, Any]:
    """Return the value of a rectangle, in percent."""
    (x0, y0, x1, y1), (width, height) = box_xyxy, size_wh
    return {
        "x": 100 * x0 / width,
        "y": 100 * y0 / height,
        "width": 100 * (x1 - x0) / width,
        "height": 100 * (y1 - y0) / height,
        "rotation": 0,
    }


def polygon(points: npt.NDArray[np.float64], size_wh: tuple[int, int]) -> dict[str, Any]:
    """Return the value of a polygon of (n, 2) pixels, in percent."""
    return {"points": (100 * points / np.array(size_wh)).tolist(), "closed": True}


def brush(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return the value of a brush, encoded by Label Studio's own library."""
    from label_studio_sdk.converter.brush import mask2rle

    return {"format": "rle", "rle": mask2rle(mask.astype(np.uint8) * 255)}
