"""What worker processes are forked from: all they import, compiled code, and nothing that a search for rubbish would touch."""

from __future__ import annotations

import gc
from contextlib import suppress

from . import engine  # noqa: F401 - with it, all that jobs call
from .tile import warm_up

# A worker that cannot compile says so itself, in a review that tells of it.
with suppress(Exception):
    warm_up()
gc.freeze()
