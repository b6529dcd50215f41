"""From a task as Label Studio lists it to what each person said about it; nothing of the regions is understood here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..core.errors import ServerError
from ..core.store_studio import Answer, AnswerKind

_FROM_PREDICTION = ("prediction", "prediction-changed")


def answers(task: Mapping[str, Any], sha256: str, users: Mapping[int, str], where: str) -> list[Answer]:
    """Return everything that people said about one task, also what they have not submitted yet, the oldest first.

    Args:
        task: with its annotations and drafts in full.
        sha256: the image of the task.
        users: mail address by number of the user.
        where: link to the task, for messages.

    Raises:
        ServerError: what is listed has not the form that Label Studio promises.
    """
    found = [_answer(entry, task, sha256, users, where, draft=False) for entry in _listed(task, "annotations", where)]
    found += [_answer(entry, task, sha256, users, where, draft=True) for entry in _listed(task, "drafts", where)]
    return sorted(found, key=by_time)


def by_time(answer: Answer) -> tuple[datetime, int]:
    """Return what answers are ordered by: the last change, then the number."""
    return moment(answer.updated_at), answer.answer_id


def moment(text: str) -> datetime:
    """Return a time of the server; 1970 where it is none."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def labels(result: Sequence[Any]) -> Iterator[str]:
    """Yield the labels that the regions of an answer bear, without looking at their shapes."""
    for region in result:
        kind = region.get("type") if isinstance(region, Mapping) else None
        value = region.get("value") if isinstance(region, Mapping) else None
        if isinstance(kind, str) and kind.endswith("labels") and isinstance(value, Mapping):
            named = value.get(kind)
            yield from (label for label in named if isinstance(label, str)) if isinstance(named, list) else ()


def _answer(
    entry: Mapping[str, Any], task: Mapping[str, Any], sha256: str, users: Mapping[int, str], where: str, *, draft: bool
) -> Answer:
    number, result = entry.get("id"), entry.get("result")
    if not isinstance(number, int) or not isinstance(result, list):
        raise ServerError(f"{where}: expected answers with an id and a list of regions, Label Studio sent another form")
    kind: AnswerKind = "draft" if draft else "skipped" if entry.get("was_cancelled") else "submitted"
    created = str(entry.get("created_at") or "")
    return Answer(
        kind=kind,
        answer_id=number,
        task_id=int(task["id"]),
        sha256=sha256,
        annotator=_annotator(entry, users),
        created_at=created,
        updated_at=str(entry.get("updated_at") or created),
        seconds=_seconds(entry.get("lead_time")),
        from_prediction=_from_prediction(entry, result),
        result=result,
    )


def _listed(task: Mapping[str, Any], key: str, where: str) -> list[Mapping[str, Any]]:
    entries = task.get(key)
    if entries is None and key == "drafts":
        return []
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ServerError(f"{where}: expected {key} as a list, Label Studio sent another form")
    return entries


def _annotator(entry: Mapping[str, Any], users: Mapping[int, str]) -> str:
    """Return the mail address; without one the name that the server shows, which ends in the number of the user."""
    by = entry.get("completed_by")
    if isinstance(by, Mapping):
        by = by.get("email") or by.get("id")
    if isinstance(by, int) and by in users:
        return users[by]
    shown = by if isinstance(by, str) else entry.get("user") or entry.get("created_username")
    if isinstance(shown, int):
        return users.get(shown, f"user {shown}")
    name, comma, number = str(shown or "").strip().rpartition(", ")
    plain = name if comma and number.strip().isdigit() else str(shown or "").strip()
    plain = plain.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair would not go into labels.db
    return plain or (f"user {by}" if by is not None else "unknown")


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def _from_prediction(entry: Mapping[str, Any], result: Sequence[Any]) -> bool:
    origins = (region.get("origin") for region in result if isinstance(region, Mapping))
    return entry.get("parent_prediction") is not None or any(origin in _FROM_PREDICTION for origin in origins)
