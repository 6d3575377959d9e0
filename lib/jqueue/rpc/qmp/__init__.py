"""QMP, the language of QEMU's monitor, for jobs: as `qmp-shell` and `qemu.qmp` speak it.

Commands are in `commands`, the connection in `server`, the text of messages in `parser` and `message`.
What a job may do when is the queue's; it gives QEMU's own error texts.
"""
