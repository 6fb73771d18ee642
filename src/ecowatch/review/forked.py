"""What worker processes are forked from: all they import, and nothing that a search for rubbish would touch and so copy."""

from __future__ import annotations

import gc

from . import engine  # noqa: F401 - with it, all that jobs call

gc.freeze()
