"""File names of an export: the source's own name, made safe and unique."""

from __future__ import annotations

import unicodedata

MAX_STEM_BYTES = 200
"""Leaves room for a hash and a suffix below the 255 bytes of the common file systems."""


class UniqueNames:
    """Hands out one name per image; the first of equal names keeps it, a later one gets part of its hash.

    Names are compared without regard to case and Unicode form, so that they stay apart on every file system.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, stem: str, suffix: str, sha256: str) -> str:
        """Return ``stem + suffix``, or ``stem-<first hex digits of sha256> + suffix``.

        Eight digits of the hash, more if those are taken.
        """
        name = stem + suffix
        digits = 8
        while _key(name) in self._taken:
            name = f"{stem}-{sha256[:digits]}{suffix}"
            digits += 8
        self._taken.add(_key(name))
        return name


def split_name(path: str) -> tuple[str, str]:
    """Return the stem and the suffix (with its dot) of the last part of a path, as shown to people."""
    name = path.rsplit("/", 1)[-1]
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem else (name, "")


def as_text(name: str) -> str:
    """Return a name as text that can be written; bytes that were no UTF-8 are spelled out."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def safe_stem(stem: str) -> str:
    """Return a stem that file systems, shells and the loaders of trainers read without trouble.

    Letters and digits of any script, space, ``.``, ``_``, ``-``, ``(`` and ``)`` stay; anything else becomes ``_``.
    A leading dot would hide the file from loaders that list folders by pattern.
    """
    kept = "".join(c if c.isalnum() or unicodedata.combining(c) or c in " ._-()" else "_" for c in stem)
    kept = kept.encode("utf-8", "replace")[:MAX_STEM_BYTES].decode("utf-8", "ignore").strip()
    return "_" + kept.lstrip(".") if kept.startswith(".") or not kept else kept


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
