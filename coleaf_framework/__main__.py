"""`python -m coleaf_framework` is the command `coleaf`."""

from coleaf_framework.cli import main

main()
