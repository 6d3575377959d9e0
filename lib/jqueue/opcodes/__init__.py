"""What a job can do: the base of all opcodes, parameters, the registry; and the built-in opcodes, one family a file.

Running them is the business of `jqueue.sched` and `jqueue.workers`.
"""
