"""QEMU's own library `qemu.qmp`, unmodified; several clients at once, and some that are not as they should be."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from qemu.qmp import EventListener, ExecuteError, QMPClient, Runstate

from .conftest import QmpServer

SUBMIT = "__org.jqueue_submit"
DELAY: dict[str, object] = {"ops": [{"OP_ID": "OP_TEST_DELAY", "duration": 60}]}
DUMMY: dict[str, object] = {"ops": [{"OP_ID": "OP_TEST_DUMMY"}]}


@asynccontextmanager
async def connected(qmp: QmpServer) -> AsyncIterator[QMPClient]:
    client = QMPClient("test")
    await client.connect(os.fspath(qmp.path))
    try:
        yield client
    finally:
        await client.disconnect()


async def until(listener: EventListener, job: str, status: str) -> list[str]:
    """Gives the statuses that a job takes on, up to one."""
    found: list[str] = []
    while status not in found:
        event: Any = await asyncio.wait_for(listener.get(), 20)
        if event["event"] == "JOB_STATUS_CHANGE" and event["data"]["id"] == job:
            found.append(event["data"]["status"])
    return found


def test_a_listener_sees_a_job_through_all_its_states(qmp: QmpServer) -> None:
    async def session() -> None:
        async with connected(qmp) as client:
            with client.listener() as listener:
                answer: Any = await client.execute(SUBMIT, {**DUMMY, "auto-dismiss": True})
                assert answer == {"id": "job1"}
                seen = await until(listener, "job1", "null")
                assert seen == ["created", "running", "waiting", "pending", "concluded", "null"]
            assert await client.execute("query-jobs") == []

    asyncio.run(session())


def test_an_error_has_its_class(qmp: QmpServer) -> None:
    async def session() -> None:
        async with connected(qmp) as client:
            with pytest.raises(ExecuteError) as caught:
                await client.execute("block-job-cancel", {"device": "job7", "force": True})
            assert caught.value.error_class == "DeviceNotActive"
            assert str(caught.value) == "Block job 'job7' not found"

    asyncio.run(session())


def test_many_clients_work_side_by_side_and_all_see_every_event(qmp: QmpServer) -> None:
    async def one(client: QMPClient, pause: bool) -> list[str]:
        with client.listener() as listener:
            if pause:
                await client.execute("job-pause", {"id": "job1"})
                await client.execute("job-cancel", {"id": "job1"})
            return await until(listener, "job1", "concluded")

    async def session() -> None:
        async with connected(qmp) as first:
            await first.execute(SUBMIT, DELAY)
            jobs: Any = []
            while not jobs or jobs[0]["status"] != "running":
                jobs = await first.execute("query-jobs")
            clients = [QMPClient(str(number)) for number in range(20)]
            await asyncio.gather(*(client.connect(os.fspath(qmp.path)) for client in clients))
            seen = await asyncio.gather(*(one(client, client is clients[0]) for client in clients))
            assert seen == [["paused", "running", "aborting", "concluded"]] * 20
            await asyncio.gather(*(client.disconnect() for client in clients))

    asyncio.run(session())


def test_quit_cancels_newest_first_and_then_ends_every_session(qmp: QmpServer) -> None:
    async def session() -> list[tuple[str, str]]:
        client, other = QMPClient("quits"), QMPClient("looks on")
        await client.connect(os.fspath(qmp.path))
        await other.connect(os.fspath(qmp.path))
        seen: list[tuple[str, str]] = []
        with other.listener() as listener:
            await client.execute(SUBMIT, DELAY)
            await client.execute(SUBMIT, DELAY)
            assert await client.execute("quit") == {}
            for each in (client, other):
                while each.runstate is Runstate.RUNNING:
                    await asyncio.sleep(0.01)
                with pytest.raises(EOFError):
                    await each.disconnect()
            for event in listener.clear():
                data: Any = event["data"]
                seen.append((str(event["event"]), str(data.get("id", data.get("device", "")))))
        return seen

    seen = asyncio.run(session())
    start = seen.index(("SHUTDOWN", ""))
    assert [each for each in seen[start:] if each[0] == "BLOCK_JOB_CANCELLED"] == [
        ("BLOCK_JOB_CANCELLED", "job2"),
        ("BLOCK_JOB_CANCELLED", "job1"),
    ]
    assert qmp.wait() == 0


def plain(qmp: QmpServer) -> socket.socket:
    """Connects as a program does that has no library, and reads the greeting."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(os.fspath(qmp.path))
    assert list(json.loads(read_line(connection))) == ["QMP"]
    return connection


def read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        data = connection.recv(1)
        assert data, "the server has closed the connection"
        line += data
    return line


def test_commands_byte_by_byte_and_many_in_one_packet(qmp: QmpServer) -> None:
    with plain(qmp) as connection:
        for byte in b"{'execute': 'qmp_capabilities', 'id': 1}":
            connection.sendall(bytes([byte]))
        assert json.loads(read_line(connection)) == {"return": {}, "id": 1}
        connection.sendall(b"".join(b'{"execute": "query-jobs", "id": %d}' % number for number in range(1000)))
        for number in range(1000):
            assert json.loads(read_line(connection)) == {"return": [], "id": number}


def test_a_flood_of_rubbish_keeps_no_other_client_waiting(qmp: QmpServer) -> None:
    async def session() -> None:
        with plain(qmp) as rude:
            rude.setblocking(False)
            async with connected(qmp) as client:
                for chunk in (b"}" * 65536, b"[" * 65536, b"\xff" * 65536, b'"' + b"x" * 65536):
                    try:
                        rude.send(chunk)
                    except BlockingIOError:
                        break
                    before = asyncio.get_running_loop().time()
                    assert await client.execute("query-jobs") == []
                    assert asyncio.get_running_loop().time() - before < 5

    asyncio.run(session())
