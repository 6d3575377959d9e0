"""The verbs of `jqueue`, one a file; each has `register(subparsers)` and `run(args, terminal) -> int`."""
