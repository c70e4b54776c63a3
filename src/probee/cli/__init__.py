"""The `probee` command: a thin layer of arguments and tables."""
