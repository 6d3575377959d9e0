"""The command line tool `jqueue`: one verb, one file in `jqueue.cli.verbs`.

Nothing here imports Twisted, and a verb imports what it needs when it runs: a shell prompt should not wait for it.
"""
