"""Telling those who want to know: the bus, the job log, waiting for a change.

Everything told here is durable already; nothing here changes a job.
"""
