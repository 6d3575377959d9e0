"""Who may touch what: requests for locks, the locks, their one manager, and reports about them.

Pure: no I/O, no threads, no jobs; the clock is passed in. What a job is, and when it is tried again, is for
`jqueue.sched`.
"""
