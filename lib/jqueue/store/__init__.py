"""What makes the queue durable and readable: journal and checkpoints, job files, logs, archive, dropped files.

Nothing here decides anything about jobs; it keeps bytes, in order, and says when they are safe.
"""
