"""Label Studio's brush encoding of masks, from and to run lengths, without ever spreading out its four channels.

The encoding is that of thi.ng/rle-pack over the RGBA bytes of the picture, row by row: 32 bits number of bytes, 5 bits
word size - 1, four times 4 bits for the sizes that a length can have - 1, and then for each run 1 bit "repeated", 2
bits which size, the length - 1 in that many bits, and the word; where "repeated" is 0, as many words as the length
says. A mask has two values, so its runs are all that is looked at: the cost grows with the outline, not with the area.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from . import masks
from .errors import InputError
from .masks import Positions
from .records import Rle

_LENGTH_BITS = np.array([3, 4, 8, 16])
"""Sizes of a length that Label Studio's own tools write."""

_STEPS = np.array([8, 16, 256])
"""The longest run of each size but the last."""

_SIZES_FIELD = 2 << 12 | 3 << 8 | 7 << 4 | 15
_LONGEST = 1 << 16
_EIGHT_SET = np.uint64(0x0101010101010101)
_MAX_PIXELS = (1 << 32) // 4 - 1
_HEADER_BITS = 32 + 5 + 4 * 4
_OPAQUE = 128
"""A pixel belongs to the mask where its alpha is at least this; tools write 0 and 255."""


def encode_brush(mask: Rle | npt.NDArray[np.bool_]) -> list[int]:
    """Return a mask as Label Studio keeps it in ``value.rle``: numbers from 0 to 255.

    The same numbers as ``label_studio_sdk.converter.brush.mask2rle(mask * 255)``.

    Args:
        mask: run lengths of the whole image, or its (height, width) bool mask.

    Raises:
        InputError: a malformed encoding, or an image of 2 ** 30 pixels or more.
        ValueError: an array that is no mask.
    """
    if isinstance(mask, np.ndarray):
        if mask.ndim != 2 or mask.size == 0:
            raise ValueError(f"expected a mask of shape (height, width), got {mask.shape}")
        edges, pixels = _edges_of_array(mask), mask.size
    else:
        edges = masks.edges(mask)
        height, width = mask["size"]
        edges = transposed(edges, (height, width))
        pixels = height * width
    if pixels > _MAX_PIXELS:
        raise InputError(f"expected an image below {_MAX_PIXELS:,} pixels for a brush mask, got {pixels:,}")
    return list(_pack(edges, pixels))


def decode_brush(numbers: Sequence[int], size_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the (height, width) bool mask; see ``brush_edges`` for what is checked before anything is allocated."""
    height, width = size_hw
    lengths = np.diff(brush_edges(numbers, size_hw), prepend=0, append=height * width)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(height, width)


def brush_to_rle(numbers: Sequence[int], size_hw: tuple[int, int]) -> Rle:
    """Return the run lengths of a brush mask without building it; raises as ``brush_edges`` does."""
    height, width = size_hw
    return masks.encode_edges(transposed(brush_edges(numbers, size_hw), (width, height)), size_hw)


def brush_edges(numbers: Sequence[int], size_hw: tuple[int, int]) -> Positions:
    """Return the places where a brush mask changes, counted along the rows, ascending.

    Args:
        numbers: ``value.rle`` of a region, 0 to 255 each.
        size_hw: height and width in pixels that the region says, against which the encoding is held.

    Raises:
        InputError: no list of bytes, another picture size than the encoding says, words that are not bytes, or runs
            that end early or reach over the end.
    """
    height, width = size_hw
    try:
        data = bytes(numbers)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected a brush mask as a list of numbers from 0 to 255: {error}") from error
    values = int.from_bytes(data[:4], "big")
    if len(data) * 8 < _HEADER_BITS or min(height, width) <= 0 or values != 4 * height * width:
        raise InputError(
            f"expected a brush mask of {width} x {height} px, which is {4 * height * width:,} values, "
            f"got one of {values:,} values in {len(data):,} bytes"
        )
    ends, opaque = _runs(data, values)
    # Alpha is every fourth value, so pixel p is in a run that ends at e where 4 p + 3 < e.
    pixel_ends = np.array(ends, dtype=np.int64) // 4
    starts = np.concatenate([[0], pixel_ends[:-1]])
    filled = pixel_ends > starts
    on = np.array(opaque, dtype=np.bool_)[filled]
    edges: Positions = starts[filled][np.diff(on, prepend=False)]
    return edges


def transposed(edges: Positions, size_hw: tuple[int, int]) -> Positions:
    """Turn the places where a mask changes down its columns into those along its rows.

    Between two neighbouring columns a row changes wherever exactly one of them is set. That is the mask combined by
    exclusive or with itself moved by one column; its pixels, counted along the rows, are the edges looked for.

    Args:
        edges: strictly ascending positions counted down the columns.
        size_hw: height and width; swap them to turn rows into columns.
    """
    height, width = size_hw
    if len(edges) % 2:
        edges = np.append(edges, height * width)
    moved = np.sort(np.concatenate([edges, edges + height]))
    spans = masks.odd_ones(moved).reshape(-1, 2)
    lengths = spans[:, 1] - spans[:, 0]
    firsts = np.cumsum(lengths) - lengths
    pixels = np.arange(int(lengths.sum())) + np.repeat(spans[:, 0] - firsts, lengths)
    column, row = np.divmod(pixels, height)
    # The place after the last pixel of a row is the first pixel of the next one: two edges there are none.
    along = masks.odd_ones(np.sort(row * width + column))
    return along[along < height * width]


def _edges_of_array(mask: npt.NDArray[np.bool_]) -> Positions:
    """Return the places where a mask changes along its rows, eight pixels looked at in one go."""
    flat = np.ascontiguousarray(mask, dtype=np.bool_).ravel()
    eights = flat[: flat.size // 8 * 8].view(np.uint64)
    firsts = np.concatenate([[0], np.flatnonzero(eights[1:] != eights[:-1]) + 1])[: len(eights)]
    stretches, lengths = eights[firsts], np.diff(firsts, append=len(eights))
    if ((stretches != 0) & (stretches != _EIGHT_SET) & (lengths > 1)).any():  # equal eights with changes inside
        places: Positions = np.arange(1, flat.size)
    else:  # changes stand before or inside the first of equal eights, or behind the last eight
        places = np.concatenate([(8 * firsts[:, None] + np.arange(8)).ravel(), np.arange(8 * len(eights), flat.size)])
        places = places[places > 0]
    edges = places[flat[places] != flat[places - 1]]
    return np.concatenate([[0], edges]) if flat[0] else edges


def _pack(edges: Positions, pixels: int) -> bytes:
    """Return the encoded bytes of the runs between the edges; the first run is not set, and may have no length."""
    bounds = np.concatenate([[0], edges, [pixels]])
    words: Positions = np.zeros(len(edges) + 1, dtype=np.int64)
    words[1::2] = 255
    empty = int(bounds[1] == 0)
    words = words[empty:]
    lengths: Positions = 4 * (bounds[empty + 1 :] - bounds[empty:-1])
    sizes: Positions = np.searchsorted(_STEPS, lengths)
    if lengths.max() > _LONGEST:  # a run that is too long for one length is several; the last keeps the longest size
        pieces = (lengths - 1) // _LONGEST + 1
        last = np.cumsum(pieces) - 1
        rest = lengths - (pieces - 1) * _LONGEST
        words, sizes, lengths = np.repeat(words, pieces), np.repeat(sizes, pieces), np.full(last[-1] + 1, _LONGEST)
        lengths[last] = rest
    bits = _LENGTH_BITS[sizes]
    codes = (((4 + sizes) << bits) + lengths - 1 << 8) + words
    header = ((pixels * 4 << 5 | 7) << 16) | _SIZES_FIELD
    head = [header >> 26, header & (1 << 26) - 1]
    return _joined(np.concatenate([head, codes]), np.concatenate([[27, 26], bits + 11]))


def _joined(codes: Positions, bits: Positions) -> bytes:
    """Write codes of at most 27 bits one after the other, and zeros up to the next byte, or one byte of them.

    In every 32 bits at least one code begins, so the words to write are runs of codes that begin in them.
    """
    ends = np.cumsum(bits)
    begins = ends - bits
    word = begins >> 5
    placed = codes.astype(np.uint64) << (64 - (begins & 31) - bits).astype(np.uint64)
    firsts = np.flatnonzero(np.diff(word, prepend=-1))
    lasts = np.append(firsts[1:], len(word)) - 1
    packed = np.zeros(len(firsts) + 1, dtype=np.uint64)
    packed[:-1] = np.bitwise_or.reduceat(placed >> np.uint64(32), firsts)
    packed[1:] |= placed[lasts] & np.uint64(0xFFFFFFFF)
    return packed.astype(">u4").tobytes()[: int(ends[-1]) // 8 + 1]


def _runs(data: bytes, values: int) -> tuple[list[int], list[bool]]:
    """Return where each run of equal alpha ends, in values, and whether it is set."""
    bits = 8 * len(data)
    fields = int.from_bytes(data[4:8].ljust(4, b"\0"), "big")
    word_bits = (fields >> 27) + 1
    if word_bits != 8:
        raise InputError(f"expected a brush mask with words of 8 bits, got {word_bits}")
    length_bits = [(fields >> shift & 15) + 1 for shift in (23, 19, 15, 11)]
    place, done = _HEADER_BITS, 0
    ends: list[int] = []
    opaque: list[bool] = []
    while done < values:
        # The longest code, "repeated", size, length and word, is 27 bits: with an offset of up to 7 it fits 5 bytes.
        code = int.from_bytes(data[place >> 3 : (place >> 3) + 5].ljust(5, b"\0"), "big") << (place & 7) & _LOW_40
        size = length_bits[code >> 37 & 3]
        length = (code >> (37 - size) & (1 << size) - 1) + 1
        repeated = code >> 39
        place += 3 + size
        end = place + 8 * (1 if repeated else length)
        if end > bits or done + length > values:
            raise InputError(f"a brush mask of {len(data):,} bytes ends at value {done:,} of {values:,}")
        if repeated:
            done += length
            ends.append(done)
            opaque.append((code >> (29 - size) & 255) >= _OPAQUE)
        else:
            whole = int.from_bytes(data[place >> 3 : (end + 7) >> 3], "big") >> (-end % 8)
            for word in (whole & (1 << 8 * length) - 1).to_bytes(length, "big"):
                done += 1
                ends.append(done)
                opaque.append(word >= _OPAQUE)
        place = end
    return ends, opaque


_LOW_40 = (1 << 40) - 1
