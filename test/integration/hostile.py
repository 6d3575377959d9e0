"""A client that misbehaves, in a process of its own: `hostile.py KIND SOCKET`; it says `ready`, and never ends.

- `deaf`: asks for long lists and never reads an answer
- `drip`: sends one byte a second
- `giant`: sends one message of a gigabyte, again whenever it is cut off
- `flood`: sends messages of 7 MiB, just below the limit, one after the other
"""

from __future__ import annotations

import socket
import struct
import sys
import time

import msgpack

ALL_JOBS = msgpack.packb([0, 1, "QueryJobs", [[], ["id", "name", "status", "ops"]]])
SUBMIT = b"\x94\x00\x09" + msgpack.packb("SubmitJob") + b"\x91"
MIB = b"x" * (1 << 20)


def connect(path: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    return client


def drip(client: socket.socket) -> None:
    while True:
        client.sendall(b"\x94")
        time.sleep(1)


def deaf(client: socket.socket) -> None:
    while True:
        client.sendall(ALL_JOBS * 100)


def text(client: socket.socket, mib: int) -> None:
    """Sends a submission that is one text of so many MiB."""
    client.sendall(SUBMIT + b"\xdb" + struct.pack(">I", mib << 20))
    for _ in range(mib):
        client.sendall(MIB)


def flood(client: socket.socket) -> None:
    while True:
        text(client, 7)


KINDS = {"deaf": deaf, "drip": drip, "giant": lambda client: text(client, 1024), "flood": flood}


def main() -> None:
    kind, path = sys.argv[1:]
    print("ready", flush=True)
    while True:
        try:
            with connect(path) as client:
                KINDS[kind](client)
        except OSError:
            time.sleep(0.05)  # it was cut off, as it should be


if __name__ == "__main__":
    main()
