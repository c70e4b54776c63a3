"""`python -m probee`: the same as `probee`."""

from __future__ import annotations

import sys

try:
    from .cli.main import main

    code = main()
except KeyboardInterrupt:  # while importing
    code = 130
sys.exit(code)
