"""The bounded look-ahead: order, bound, errors, and an end that leaves no thread behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator

import pytest

from labeling.ahead import Ahead


def counting(stop: int, made: list[int], closed: list[bool]) -> Generator[int, None, None]:
    try:
        for number in range(stop):
            made.append(number)
            yield number
    finally:
        closed.append(True)


def consume(source: Generator[int, None, None], use: Callable[[int], object]) -> None:
    with Ahead(source, depth=5) as ahead:
        for number in ahead:
            use(number)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "ahead"]


@pytest.mark.parametrize("depth", [1, 3])
def test_everything_comes_in_order_and_the_source_is_closed(depth: int) -> None:
    made: list[int] = []
    closed: list[bool] = []
    with Ahead(counting(50, made, closed), depth=depth) as ahead:
        assert list(ahead) == list(range(50))
    assert closed == [True]
    assert threads() == []


@pytest.mark.parametrize("depth", [1, 3])
def test_the_source_is_never_further_ahead_than_the_depth(depth: int) -> None:
    made: list[int] = []
    with Ahead(counting(50, made, []), depth=depth) as ahead:
        for number in ahead:
            assert len(made) <= number + 1 + depth


def test_an_error_comes_after_what_was_made_before_it() -> None:
    def failing() -> Generator[int, None, None]:
        yield 1
        yield 2
        raise ValueError("broken")

    got: list[int] = []
    with pytest.raises(ValueError, match="broken"):
        consume(failing(), got.append)
    assert got == [1, 2]
    assert threads() == []


def test_leaving_early_closes_the_source_and_ends_the_thread() -> None:
    made: list[int] = []
    closed: list[bool] = []
    with Ahead(counting(1_000_000, made, closed)) as ahead:
        for number in ahead:
            if number == 3:
                break
    assert closed == [True]
    assert threads() == []
    assert len(made) <= 5


def test_an_error_of_the_consumer_ends_the_thread_too() -> None:
    closed: list[bool] = []
    nowhere: dict[int, object] = {}
    with pytest.raises(KeyError):
        consume(counting(1_000_000, [], closed), nowhere.__getitem__)
    assert closed == [True]
    assert threads() == []
