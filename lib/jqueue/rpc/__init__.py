"""How programs talk to the queue: one table of methods, one dispatcher, and a thin dialect for each protocol.

The queue itself does not live here; the methods see it as `jqueue.rpc.api.QueueApi`.
"""
