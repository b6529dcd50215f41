"""Where frames come from, and which labels of a video are one object; both rest in labels.db."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..core.store import Store
from .taking import TakenFrame


@dataclass(frozen=True, slots=True)
class FootageCounts:
    """What labels.db knows of videos and streams: how many, their frames, and the objects followed through them.

    Attributes:
        videos: files and recordings.
        picked: frames that the teacher looked at.
        between: frames whose labels were propagated.
        tracks: objects that are seen in several frames.
    """

    videos: int
    picked: int
    between: int
    tracks: int


class FrameLedger:
    """The tables ``frames`` and ``tracks``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, video: str, frames: Sequence[TakenFrame], *, picked: bool = True) -> None:
        """Note the frames of a video whose images labels.db knows; what is known already changes nothing."""
        known = {(one.number, one.sha256) for one in self.frames(video, picked=picked)}
        fresh = [
            (one.sha256, video, one.number, one.seconds, one.scene, picked)
            for one in frames
            if (one.number, one.sha256) not in known
        ]
        if fresh:
            with self._store.transaction() as db:
                db.executemany(
                    "INSERT OR REPLACE INTO frames (sha256, video, number, seconds, scene, picked) "
                    "SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM images WHERE sha256 = ?1)",
                    fresh,
                )

    def frames(self, video: str, *, picked: bool = True) -> list[TakenFrame]:
        """Return the picked frames of a video, or those between them, by number."""
        sql = "SELECT number, seconds, scene, sha256 FROM frames WHERE video = ? AND picked = ? ORDER BY number"
        return [TakenFrame(*row) for row in self._store.rows(sql, video, picked)]

    def write_tracks(self, video: str, tracks: Mapping[int, Sequence[tuple[str, str]]]) -> None:
        """Replace the tracks of a video: (sha256 of the image, id of the label) by track."""
        rows = [(video, track, *seen) for track, sightings in sorted(tracks.items()) for seen in sightings]
        with self._store.transaction() as db:
            db.execute("DELETE FROM tracks WHERE video = ?", (video,))
            # One picture may be two frames; it shows an object once.
            db.executemany("INSERT OR IGNORE INTO tracks VALUES (?, ?, ?, ?)", rows)

    def tracks(self, video: str) -> dict[int, list[tuple[str, str]]]:
        """Return (sha256 of the image, id of the label) by track, in the order of the frames."""
        sql = (
            "SELECT t.track, t.sha256, t.annotation_id FROM tracks t WHERE t.video = ?1 ORDER BY t.track, "
            "(SELECT min(number) FROM frames f WHERE f.video = ?1 AND f.sha256 = t.sha256)"
        )
        found: dict[int, list[tuple[str, str]]] = {}
        for track, sha256, annotation in self._store.rows(sql, video):
            found.setdefault(track, []).append((sha256, annotation))
        return found

    def groups(self) -> list[tuple[str, ...]]:
        """Return the images of every track; they belong together, whatever people have said about them since."""
        rows = self._store.rows("SELECT video, track, sha256 FROM tracks ORDER BY video, track, sha256")
        return [tuple(row[2] for row in seen) for _, seen in groupby(rows, key=lambda row: row[:2])]

    def counts(self) -> FootageCounts:
        """Count it all."""
        sql = (
            "SELECT (SELECT count(DISTINCT video) FROM frames), (SELECT count(*) FROM frames WHERE picked), "
            "(SELECT count(*) FROM frames WHERE NOT picked), "
            "(SELECT count(*) FROM (SELECT DISTINCT video, track FROM tracks))"
        )
        (row,) = self._store.rows(sql)
        return FootageCounts(*row)
