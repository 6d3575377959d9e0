"""Where opcode code runs: threads of our own, what an opcode sees of the queue, supervised commands.

Nothing here decides what runs next; that is `jqueue.sched`.
"""
