"""`python -m meshlib` is the command `meshlib`."""

import sys

from .cli import main

sys.exit(main())
