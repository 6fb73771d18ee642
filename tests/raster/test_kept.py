"""What a thread keeps: blocks while there is room, held parts of them beyond that, and nothing that nobody decoded."""

from __future__ import annotations

import numpy as np

from ecowatch.grid import Window
from ecowatch.raster.kept import Kept
from ecowatch.raster.layer import Pixels

SIDE = 64
BLOCK_BYTES = SIDE * SIDE * 2


class Decoder:
    """Blocks whose pixels tell their place, and how often each was decoded."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def block(self, number: int) -> Pixels:
        self.calls.append(number)
        places = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(1, SIDE, SIDE)
        return Pixels(places + np.uint16(number), np.eye(SIDE, dtype=bool))


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
