"""Replays recorded sessions of QEMU's monitor against the daemon.

`rows` reads a recording, `story` and `recording` tell what it shows, `equivalent` makes our job for each of its jobs,
`script` is what to do and in which order, `player` does it, `comparison` judges. What may differ, and why, stands in
`differences`, in one table.
"""
