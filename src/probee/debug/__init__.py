"""The debugger for programs in the machine, and coverage of their source."""
