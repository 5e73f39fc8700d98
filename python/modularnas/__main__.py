"""`python -m modularnas`: the command line."""

import sys

from modularnas.cli import main

sys.exit(main())
