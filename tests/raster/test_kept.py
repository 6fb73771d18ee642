"""What a thread keeps: blocks while there is room, held parts of them beyond that, and nothing that nobody decoded."""

from __future__ import annotations

import numpy as np
import pytest

from ecowatch.grid import Window
from ecowatch.raster.kept import Kept
from ecowatch.raster.layer import Pixels

SIDE = 64
BLOCK_BYTES = SIDE * SIDE * 2


class Decoder:
    """Blocks whose pixels tell their place, and how often each was decoded; in the memory of `kept` where one is given."""

    def __init__(self, kept: Kept | None = None) -> None:
        self.calls: list[int] = []
        self._kept = kept

    def block(self, number: int) -> Pixels:
        self.calls.append(number)
        places = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(1, SIDE, SIDE)
        if self._kept is None:
            return Pixels(places + np.uint16(number), np.eye(SIDE, dtype=bool))
        values = self._kept.buffer((1, SIDE, SIDE), np.uint16)
        values[:] = places + np.uint16(number)
        return Pixels(values, np.eye(SIDE, dtype=bool))


def ask(kept: Kept, decoder: Decoder, number: int, part: Window, blocks: int = 1) -> None:
    pixels = kept.part(number, part, lambda: decoder.block(number), most_bytes=blocks * BLOCK_BYTES)
    whole = Decoder().block(number)
    place = slice(part.row0, part.row1), slice(part.col0, part.col1)
    assert pixels.covered is not None and whole.covered is not None
    assert (pixels.values == whole.values[:, *place]).all() and (pixels.covered == whole.covered[place]).all()


ALL, RIM, INNER = Window(0, 0, SIDE, SIDE), Window(0, 48, SIDE, SIDE), Window(8, 50, 20, 60)


def test_a_held_part_outlives_its_block() -> None:
    kept, decoder = Kept(), Decoder()
    ask(kept, decoder, 0, ALL)
    for soon in (True, False):
        kept.hold(0, RIM, soon=soon)
    ask(kept, decoder, 1, ALL)
    ask(kept, decoder, 0, INNER)
    ask(kept, decoder, 0, RIM)
    assert decoder.calls == [0, 1]
    ask(kept, decoder, 0, Window(0, 47, 4, 50))
    assert decoder.calls == [0, 1, 0], "what is not held is decoded again"


def test_nothing_is_held_of_a_block_that_is_not_there() -> None:
    kept, decoder = Kept(), Decoder()
    ask(kept, decoder, 0, ALL)
    ask(kept, decoder, 1, ALL)
    kept.hold(0, RIM, soon=False)
    ask(kept, decoder, 0, INNER)
    assert decoder.calls == [0, 1, 0]


def test_what_is_held_for_soon_does_not_push_out_what_is_held_for_later() -> None:
    kept, decoder = Kept(), Decoder()
    ask(kept, decoder, 0, ALL)
    kept.hold(0, RIM, soon=False)
    for number in range(1, 4000):
        ask(kept, decoder, number, ALL)
        kept.hold(number, RIM, soon=True)
    ask(kept, decoder, 0, RIM)
    ask(kept, decoder, 3998, RIM)
    assert decoder.calls == list(range(4000))
    ask(kept, decoder, 2, RIM)
    assert decoder.calls[-1] == 2, "the oldest are given up"


def test_what_was_held_for_a_turn_that_is_over_is_given_up() -> None:
    kept, decoder = Kept(), Decoder()
    for number in (0, 1):
        ask(kept, decoder, number, ALL)
        kept.hold(number, RIM, soon=False)
        ask(kept, decoder, 9, ALL)
    kept.turn()
    # Held anew, though as a part of what is held already; the other is not.
    ask(kept, decoder, 0, ALL)
    kept.hold(0, INNER, soon=False)
    ask(kept, decoder, 1, RIM)
    kept.turn()
    ask(kept, decoder, 9, ALL)
    decoder.calls.clear()
    ask(kept, decoder, 0, RIM)
    assert decoder.calls == []
    ask(kept, decoder, 1, RIM)
    assert decoder.calls == [1]


def test_the_memory_of_a_block_that_nobody_reads_serves_the_next() -> None:
    kept = Kept()
    decoder, places = Decoder(kept), set()
    for number in range(6):
        ask(kept, decoder, number, ALL)
        part = kept.part(number, ALL, lambda: decoder.block(-1), most_bytes=BLOCK_BYTES)
        places.add(part.values.__array_interface__["data"][0])
        del part
    # One is filled while the other is still kept.
    assert decoder.calls == list(range(6)) and len(places) == 2


@pytest.mark.parametrize("part", [ALL, INNER], ids=["whole", "part"])
def test_what_somebody_still_reads_is_not_written_over(part: Window) -> None:
    kept = Kept()
    decoder = Decoder(kept)
    read = kept.part(0, part, lambda: decoder.block(0), most_bytes=BLOCK_BYTES).values
    # A view of a view: nothing but the numbers themselves is left of the block.
    held = read[0, 2:7].T
    del read
    known = held.copy()
    for number in range(1, 9):
        ask(kept, decoder, number, ALL)
    assert (held == known).all()


def test_memory_serves_blocks_of_the_same_size_only() -> None:
    kept = Kept()
    for number, (shape, dtype) in enumerate([((1, 8, 8), np.uint16), ((1, 8, 8), np.uint8), ((2, 8, 8), np.uint8)]):
        for _ in range(2):
            values = kept.buffer(shape, dtype)
            assert (
                values.shape == shape and values.dtype == dtype and values.flags.c_contiguous and values.flags.writeable
            )
            values[:] = number
            kept.part(("block", number, _), Window(0, 0, 8, 8), lambda v=values: Pixels(v, None), most_bytes=0)  # type: ignore[misc]
            del values


def test_blocks_of_a_thread_that_has_ended_are_taken_over() -> None:
    kept, other, decoder = Kept(), Kept(), Decoder()
    for number in (0, 1):
        ask(other, decoder, number, ALL, blocks=2)
    ask(kept, decoder, 1, ALL, blocks=2)
    kept.take_over(other, most_bytes=2 * BLOCK_BYTES)
    for number in (0, 1):
        ask(kept, decoder, number, ALL, blocks=2)
    assert decoder.calls == [0, 1, 1]
    ask(other, decoder, 1, ALL)
    assert decoder.calls == [0, 1, 1, 1], "what was handed over is not kept twice"
