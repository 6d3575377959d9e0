"""What runs when: the job table, edits, the ready heap, the processor, recovery, and the `JobQueue` facade.

All of it on the reactor thread; every disk call and every line of opcode code happens elsewhere.
"""
