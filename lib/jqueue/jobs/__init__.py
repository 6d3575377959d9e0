"""What a job is: its opcodes, states, fields and packed form.

Pure: nothing here reads a file, a socket or a lock, or knows what an opcode does; the time comes from a job's queue.
What an opcode can do lives in `jqueue.opcodes`, when it may run in `jqueue.sched`.
"""
