"""Label Studio's brush encoding: its SDK as the oracle, byte for byte, and encodings that lie about their picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labeling.core import masks
from labeling.core.brush import brush_to_rle, decode_brush, encode_brush, transposed
from labeling.core.errors import InputError

sdk = pytest.importorskip("label_studio_sdk.converter.brush", reason="label_studio_sdk comes with the extra 'studio'")

Mask = npt.NDArray[np.bool_]
MASK = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


def by_the_sdk(mask: Mask) -> list[int]:
    return list(sdk.mask2rle(mask.astype(np.uint8) * 255))


def rectangle(height: int, width: int) -> Mask:
    mask = np.zeros((height, width), dtype=bool)
    mask[height // 3 : height // 2 + 1, width // 3 : width // 2 + 1] = True
    return mask


def bits(*fields: tuple[int, int]) -> list[int]:
    """Return (value, number of bits) written one after the other, filled up with zeros."""
    text = "".join(f"{value:0{size}b}" for value, size in fields)
    text += "0" * (-len(text) % 8)
    return [int(text[place : place + 8], 2) for place in range(0, len(text), 8)]


HEAD = [(7, 5), (2, 4), (3, 4), (7, 4), (15, 4)]


def test_two_pixels_by_hand() -> None:
    # 8 values; words of 8 bits; sizes 3, 4, 8, 16; then "repeated", size 0, length 4 - 1, word, twice.
    expected = bits((8, 32), *HEAD, (1, 1), (0, 2), (3, 3), (0, 8), (1, 1), (0, 2), (3, 3), (255, 8))
    mask = np.array([[False, True]])
    assert encode_brush(mask) == encode_brush(masks.encode(mask)) == expected
    assert (decode_brush(expected, (1, 2)) == mask).all()


@settings(max_examples=300)
@given(MASK)
def test_bytes_are_those_of_the_sdk(mask: Mask) -> None:
    expected = by_the_sdk(mask)
    assert encode_brush(mask) == expected
    assert encode_brush(masks.encode(mask)) == expected
    assert (decode_brush(expected, (mask.shape[0], mask.shape[1])) == mask).all()
    assert brush_to_rle(expected, (mask.shape[0], mask.shape[1])) == masks.encode(mask)


# Runs longer than one length can say, rows and columns of one pixel, and as many runs as there can be.
@pytest.mark.parametrize("size_hw", [(300, 400), (1, 70_000), (70_000, 1), (1, 16_384), (1, 32_769), (64, 64)])
def test_bytes_are_those_of_the_sdk_for_large_and_thin_pictures(size_hw: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).random(size_hw) < 0.5
    shapes = [rectangle(*size_hw), ~rectangle(*size_hw), noise, np.zeros(size_hw, dtype=bool), np.ones(size_hw, bool)]
    for mask in shapes:
        expected = by_the_sdk(mask)
        assert encode_brush(mask) == encode_brush(masks.encode(mask)) == expected
        assert (decode_brush(expected, size_hw) == mask).all()


def test_every_end_within_a_byte_is_filled_as_the_sdk_does() -> None:
    left_over = set()
    for length in range(1, 60):
        mask = np.arange(length)[None] % 7 < 2
        expected = by_the_sdk(mask)
        assert encode_brush(mask) == expected
        left_over.add(len(expected) % 8)
    assert len(left_over) == 8


@given(MASK)
def test_edges_along_rows_and_down_columns_are_turned_into_each_other(mask: Mask) -> None:
    height, width = mask.shape
    down, along = (masks.edges(masks.encode(one)) for one in (mask, mask.T))
    assert transposed(down, (height, width)).tolist() == along.tolist()
    assert transposed(along, (width, height)).tolist() == down.tolist()


@given(hnp.arrays(np.uint8, (3, 5, 4), elements=st.sampled_from([0, 1, 127, 128, 254, 255])))
def test_alpha_alone_says_what_is_masked(picture: npt.NDArray[np.uint8]) -> None:
    """People's brushes leave any bytes in the colours; the SDK encodes them with runs of any length."""
    numbers = list(sdk.encode_rle(picture.ravel()))
    assert (decode_brush(numbers, (3, 5)) == (picture[:, :, 3] >= 128)).all()


@given(st.lists(st.integers(0, 255), min_size=4, max_size=4 * 6), st.integers(0, 3))
def test_words_that_are_written_out_are_read(words: list[int], offset: int) -> None:
    """The editor in the browser writes stretches of different words without repetition."""
    words = words[: len(words) // 4 * 4]
    whole = [0] * 4 * offset + words
    repeated = [(1, 1), (3, 2), (4 * offset - 1, 16), (0, 8)] if offset else []
    written = [(0, 1), (2, 2), (len(words) - 1, 8), *((word, 8) for word in words)]
    numbers = bits((len(whole), 32), *HEAD, *repeated, *written)
    assert sdk.decode_rle(numbers).tolist() == whole
    alpha = np.array(whole).reshape(1, -1, 4)[:, :, 3]
    assert (decode_brush(numbers, (1, len(whole) // 4)) == (alpha >= 128)).all()


def test_another_picture_size_is_refused_before_anything_is_allocated() -> None:
    numbers = encode_brush(rectangle(10, 12))
    for size_hw in ((12, 11), (100_000, 100_000), (0, 0), (-10, -12)):
        with pytest.raises(InputError, match="expected a brush mask of"):
            decode_brush(numbers, size_hw)
    # The head alone promises a picture of 2 ** 30 pixels, which would be gigabytes.
    with pytest.raises(InputError, match="ends at value 0 of"):
        brush_to_rle(bits(((1 << 32) - 4, 32), *HEAD), (1, (1 << 30) - 1))


@pytest.mark.parametrize("numbers", [[], [0] * 6, [256], [-1], ["a"], [1.5], None, "text", {"a": 1}])
def test_what_is_no_list_of_bytes_is_refused(numbers: list[int]) -> None:
    with pytest.raises(InputError, match="expected a brush mask"):
        decode_brush(numbers, (2, 2))


@settings(max_examples=300)
@given(MASK, st.data())
def test_damaged_encodings_are_refused_or_fill_their_picture(mask: Mask, data: st.DataObject) -> None:
    numbers = encode_brush(mask)
    for _ in range(data.draw(st.integers(1, 3))):
        numbers[data.draw(st.integers(0, len(numbers) - 1))] = data.draw(st.integers(0, 255))
    numbers = numbers[: data.draw(st.integers(0, len(numbers)))]
    try:
        decoded = decode_brush(numbers, (mask.shape[0], mask.shape[1]))
    except InputError:
        return
    assert decoded.shape == mask.shape
    oracle = np.asarray(sdk.decode_rle(numbers)).reshape(*mask.shape, 4)[:, :, 3]
    assert (decoded == (oracle >= 128)).all()


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_fill_their_picture(tail: bytes) -> None:
    numbers = [*bits((4 * 35, 32)), *tail]
    try:
        assert decode_brush(numbers, (5, 7)).shape == (5, 7)
    except InputError:
        return


def test_what_is_no_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a mask of shape"):
        encode_brush(np.zeros((2, 2, 2), dtype=bool))
    with pytest.raises(InputError, match="mask"):
        encode_brush({"size": [4, 5], "counts": "T1"})
    with pytest.raises(InputError, match="below 1,073,741,823 pixels"):
        encode_brush(masks.encode_edges(np.zeros(0, dtype=np.int64), (1 << 15, 1 << 15)))
