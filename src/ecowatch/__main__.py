"""``python -m ecowatch``."""

from .cli import main

main()
