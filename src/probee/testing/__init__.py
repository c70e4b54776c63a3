"""For tests of BPF programs: assertions that say what is wrong, one test for machine and kernel."""

from __future__ import annotations

from .asserts import assert_events, assert_map, assert_verdict, differences
from .sizes import assert_size
from .targets import Outcome, Target

__all__ = ["Outcome", "Target", "assert_events", "assert_map", "assert_size", "assert_verdict", "differences"]
