"""jqueue: a durable operations queue, one daemon and one directory.

Only the version lives here; `jqueue.daemon` is the master daemon, `jqueue.cli` the command line.
"""

__version__ = "0.1.0"
