"""The master daemon: its service tree, its start and its stop.

The only package that knows the global reactor.
"""
