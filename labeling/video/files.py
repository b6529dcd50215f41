"""Which of the files that a search saw are videos, and which words of the command line are streams."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from ..core.errors import InputError
from ..image_files import Scan
from ..image_formats import suffix_of

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2ts", ".mts", ".flv", ".wmv", ".ogv")
)
"""``.ts`` is not among them: most files of that name are TypeScript."""

_STREAM = re.compile(r"(rtsps?|https?)://|/dev/video\d+$", re.IGNORECASE)


class VideoRejected(InputError):
    """A video or a stream that cannot be used, or not to its end.

    Attributes:
        reason: short and stable: ``damaged``, ``no_frames``, ``no_video_stream``, ``permission``, ``too_large``,
            ``too_small``, ``truncated``, ``unreachable``, ``unreadable``.
        detail: what was found and what to do, for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Sources:
    """The videos among the inputs.

    Attributes:
        scan: the same search without them.
        videos: files that are videos by their suffix, sorted; whether they can be decoded is not known yet.
    """

    scan: Scan
    videos: tuple[Path, ...]


def videos_among(scan: Scan) -> Sources:
    """Take the videos out of what a search skipped. Animated pictures are photos, and stay where they are."""
    videos = tuple(entry.path for entry in scan.skipped if entry.reason == "not_an_image" and _is_video(entry.path))
    taken = frozenset(videos)
    return Sources(replace(scan, skipped=tuple(one for one in scan.skipped if one.path not in taken)), videos)


def is_stream(text: str) -> bool:
    """Say whether a word of the command line is the address of a stream or a camera."""
    return _STREAM.match(text) is not None


def shown_address(address: str) -> str:
    """Return the address of a stream without what may be secret in it: user, password, query and fragment.

    Raises:
        InputError: it is none; the message shows nothing of it.
    """
    if not address.lower().startswith(("rtsp", "http")):
        return address
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise InputError("expected the address of a stream, such as rtsp://host:554/path, got one without a host")
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"


def folder_name(stem: str, sha256: str) -> str:
    """Return the name of the folder of a video's frames: its own name as far as every file system can hold it."""
    plain = re.sub(r"[^\w.-]+", "_", os.fsencode(stem).decode("utf-8", "replace")).strip("._-")
    return f"{plain[:60] or 'video'}-{sha256[:8]}"


def _is_video(path: Path) -> bool:
    # macOS keeps the attributes of clip.mp4 in a file called ._clip.mp4.
    return suffix_of(path.name) in VIDEO_SUFFIXES and not path.name.startswith("._")
