"""What worker processes are forked from: all they import, compiled code, and nothing that a search for rubbish would touch."""

from __future__ import annotations

import gc
import os
import signal
from contextlib import suppress

# What fails here fails again in a worker, in a review that tells of it.
with suppress(Exception):
    from . import engine  # noqa: F401 - with it, all that jobs call
    from .tile import warm_up

    warm_up()
# They were meant for this process alone; what the user has is told to each fork.
for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
    os.environ.pop(name, None)
# A terminal interrupts the whole group; it is meant for the program, which ends this process and all forks in good order.
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
gc.freeze()
