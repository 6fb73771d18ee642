"""Start the program with some arguments and tell when its review would begin: ``startup.py SECONDS ARGUMENT…``.

SECONDS is the clock, since the epoch, when the caller started this process. The review itself is not carried out.
"""

from __future__ import annotations

import sys
import time

from ecowatch import cli
from ecowatch.cli import reviews

if __name__ == "__main__":
    clock = float(sys.argv.pop(1))

    def begun(*_arguments: object) -> None:
        """Stand in the place of what comes right before the review: print the seconds since the process was started, leave."""
        print(time.time() - clock, flush=True)
        raise SystemExit(0)

    reviews._load_ahead = begun

    cli.main()
