"""`python -m truing` is `truing`: also what `accelerate launch -m truing` starts."""

import sys

from truing.cli import main

sys.exit(main())
