"""How programs reach the daemon: a blocking connection for tools, one for Twisted, and a reader that needs no daemon.

Only `deferred` imports Twisted, so that tools start fast.
"""
