"""What is sent to a worker at once: a job with all that follows it, small jobs together, those of a chain together."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple

# Jobs that go together, and the seconds of work that are worth a round trip.
_MOST_TOGETHER, _ENOUGH_S = 16, 0.5


class Job(NamedTuple):
    """One thing to do.

    Parameters
    ----------
    name
        What it is told by.
    function, arguments
        What is called, and with what.
    seconds
        That it is expected to take.
    chain
        Jobs of one chain that follow one another find what the one before left decoded.
    then
        What the same worker does right after it; each is told for itself.
    """

    name: Any
    function: Callable[..., None]
    arguments: tuple[Any, ...]
    seconds: float = math.inf
    chain: Hashable = None
    then: tuple[Job, ...] = ()


def together(jobs: Iterable[Job], count: int, slots: int) -> Iterator[list[Job]]:
    """Put neighbouring jobs of a chain together, and small ones until they take some time.

    Parameters
    ----------
    jobs
        What is to be done; what follows a job stands behind it and is never parted from it.
    count
        How many there are, about.
    slots
        Jobs that can be done at the same time; each gets some.
    """
    most_small, most_chained = (min(count // share, _MOST_TOGETHER) for share in (4 * slots, slots))
    bundle: list[Job] = []
    for job in jobs:
        chained = bundle and job.chain is not None and job.chain == bundle[-1].chain
        small = len(bundle) < most_small and sum(each.seconds for each in bundle) < _ENOUGH_S
        if bundle and not (len(bundle) < most_chained if chained else small):
            yield bundle
            bundle = []
        bundle += (job, *job.then)
    if bundle:
        yield bundle
