"""A QMP server without a kernel, on a queue that answers from a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jqueue.errors import GenericError
from jqueue.rpc.output import OutputLimits
from jqueue.rpc.peer import Peer, Roles
from jqueue.rpc.qmp.api import JobInfo, Listener
from jqueue.rpc.qmp.server import QmpFactory, QmpLimits
from jqueue.turns import Turns

from ..fakes import Scripted, Wire

ROOT, OPERATOR, READER, NOBODY = Peer(10, 0, 0), Peer(11, 5000, 5000), Peer(12, 6000, 6000), Peer(13, 7000, 7000)
LIMITS = QmpLimits(
    message=200_000,
    unfinished=250_000,
    connections=2,
    reserved=1,
    linger=10.0,
    output=OutputLimits(notices=3, stalled=60.0),
)


class ScriptedQmpQueue(Scripted):
    """The queue of `jqueue.rpc.qmp.api`."""

    def __init__(self) -> None:
        super().__init__(job_infos=[])
        self.listeners: list[Listener] = []

    def job_infos(self) -> Sequence[JobInfo]:
        infos: Sequence[JobInfo] = self._answer("job_infos")
        return infos

    def pause(self, job_id: int) -> Deferred[None]:
        return self._later("pause", job_id)

    def resume(self, job_id: int) -> Deferred[None]:
        return self._later("resume", job_id)

    def cancel(self, job_id: int, force: bool) -> Deferred[None]:
        return self._later("cancel", job_id, force)

    def complete(self, job_id: int) -> Deferred[None]:
        return self._later("complete", job_id)

    def finalize(self, job_id: int) -> Deferred[None]:
        return self._later("finalize", job_id)

    def dismiss(self, job_id: int) -> Deferred[None]:
        return self._later("dismiss", job_id)

    def set_speed(self, job_id: int, speed: int) -> Deferred[None]:
        return self._later("set_speed", job_id, speed)

    def submit(
        self, jobs: list[object], options: dict[str, object], *, uid: int | None, admin: bool
    ) -> Deferred[list[int | GenericError | None]]:
        return self._later("submit", jobs, options, uid, admin)

    def quit(self) -> Deferred[None]:
        return self._later("quit")

    def listen(self, listener: Listener) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def tell(self, name: str, data: Mapping[str, object]) -> None:
        for listener in self.listeners:
            listener(name, data)


def cut(sent: bytes) -> list[Any]:
    """Each message is one line of ASCII, ended by CR LF."""
    lines = sent.decode("ascii").split("\r\n")
    assert lines.pop() == "" and not any("\n" in line for line in lines)
    return [json.loads(line) for line in lines]


class Client:
    """One client, whose commands are sent as Python objects."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.wire = Wire(cut)
        protocol.makeConnection(self.wire)

    def send(self, *values: object) -> None:
        """Sends JSON, without newlines, as `qemu.qmp` does."""
        self.raw("".join(map(json.dumps, values)).encode())

    def raw(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def take(self) -> list[Any]:
        return self.wire.messages()

    def ask(self, command: str, **arguments: object) -> Any:
        """Sends a command, and takes the one message that comes then."""
        self.send({"execute": command, "arguments": {name.replace("_", "-"): arguments[name] for name in arguments}})
        (answer,) = self.take()
        return answer

    def refused(self, command: str, **arguments: object) -> tuple[str, str]:
        error = self.ask(command, **arguments)["error"]
        return error["class"], error["desc"]


class Server:
    """A server whose clients are connected by hand."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.queue = ScriptedQmpQueue()
        self.peer = ROOT
        self.stopped = 0
        self.factory = QmpFactory(
            self.clock,
            Turns(self.clock),
            self.queue,
            Roles(operators={5000}, readers={6000}, run_as=7000),
            wall=lambda: 1_700_000_000.25 + self.clock.seconds(),
            stop=self._stop,
            limits=LIMITS,
            identify=lambda wire: self.peer,
        )

    def _stop(self) -> None:
        self.stopped += 1

    def connect(self, peer: Peer = ROOT) -> Client:
        """Gives a client that has had its greeting."""
        self.peer = peer
        client = Client(self.factory.buildProtocol(None))
        assert [list(message) for message in client.take()] == [["QMP"]]
        return client

    def session(self, peer: Peer = ROOT) -> Client:
        """Gives a client that may send commands."""
        client = self.connect(peer)
        assert client.ask("qmp_capabilities") == {"return": {}}
        return client


@pytest.fixture
def server() -> Server:
    return Server()
