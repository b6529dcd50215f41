"""A card, and the smallest file that holds one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from export.runtime import CARD_KEY, Card

CARD = Card(
    kind="ultralytics",
    model="yolov8n",
    task="detect",
    names=("crate", "drum"),
    imgsz=(64, 96),
    dynamic=False,
    letterbox="square",
    stride=32,
    layout="yolo",
    precision="fp32",
    thresholds={"crate": 0.25, "drum": 0.5},
    nms_iou=0.7,
    max_objects=300,
    second_look=None,
    licence="AGPL-3.0",
    weights="ab" * 32,
    dataset="cd" * 8,
    ontology="ef" * 8,
)


def made(path: Path, card: Card = CARD) -> Path:
    """Write a protobuf by hand with a card: ir_version 8 and one entry of metadata_props; it has no graph."""

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    entry = field(1, CARD_KEY.encode()) + field(2, json.dumps(asdict(card)).encode())
    path.write_bytes(b"\x08\x08" + field(2, b"by hand") + field(14, entry))
    return path
