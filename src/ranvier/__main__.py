"""``python -m ranvier``."""

from ranvier.cli import main

main()
