"""How long a student takes: one that sleeps for a known time."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from time import sleep

import numpy as np
import pytest

from distill.evaluate import measure_latency, to_json
from distill.objects import Objects
from labeling.core.errors import InputError
from labeling.teachers.interfaces import RgbImage
from tests.made_objects import said


class Sleeper:
    """A student that takes 5 ms, and 60 ms at one call."""

    names = ("x",)
    imgsz = 320

    def __init__(self, slow_call: int) -> None:
        self.calls: list[tuple[int, float]] = []
        self._slow_call = slow_call

    def predict(self, images: Sequence[RgbImage], floor: float = 0.001) -> list[Objects]:
        sleep(0.06 if len(self.calls) == self._slow_call else 0.005)
        assert len(images) == 1
        self.calls.append((int(images[0][0, 0, 0]), floor))
        return [said("a")]


def _photos(count: int) -> list[RgbImage]:
    return [np.full((8, 8, 3), k, dtype=np.uint8) for k in range(count)]


def test_every_photo_is_timed_alone_in_turn_and_outliers_stay() -> None:
    student = Sleeper(slow_call=7)
    measured = measure_latency(student, _photos(4), warmup=3, repeats=5, floor=0.3)
    assert [place for place, _ in student.calls] == [0, 1, 2, *([0, 1, 2, 3] * 5)]
    assert {floor for _, floor in student.calls} == {0.3}
    assert (measured.n, measured.images, measured.imgsz, len(measured.times_ms)) == (20, 4, 320, 20)
    assert measured.times_ms.argmax() == 4
    assert 5 <= measured.p50_ms < 60 <= measured.max_ms
    assert measured.p50_ms <= measured.p90_ms <= measured.p99_ms <= measured.max_ms
    assert measured.p99_ms == pytest.approx(np.percentile(measured.times_ms, 99))


def test_warm_up_does_not_count() -> None:
    assert measure_latency(Sleeper(slow_call=0), _photos(2), warmup=1, repeats=2).max_ms < 60


def test_device_is_named() -> None:
    device = measure_latency(Sleeper(slow_call=-1), _photos(1), warmup=0, repeats=1).device
    assert device.cpu
    assert device.cores == len(os.sched_getaffinity(0))
    json.dumps(to_json(device))


@pytest.mark.torch
def test_version_and_threads_of_torch_are_named() -> None:
    import torch

    device = measure_latency(Sleeper(slow_call=-1), _photos(1), warmup=0, repeats=1).device
    assert (device.torch, device.threads) == (torch.__version__, torch.get_num_threads())
    assert (device.gpu is None) == (not torch.cuda.is_initialized())


def test_nothing_to_time_is_refused() -> None:
    with pytest.raises(InputError, match="at least one image"):
        measure_latency(Sleeper(slow_call=-1), [])
