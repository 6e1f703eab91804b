"""`python -m benchmarks.arena`, from the repository's root: publish what figures are kept."""

from .publish import main

main()
