"""From a request to its result: look-up, permission, arguments, and failures that a client may see; in QEMU's order."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import GenericError, PermissionDenied, ProgrammerError
from jqueue.rpc.qmp.api import QmpQueue
from jqueue.rpc.qmp.arguments import bind
from jqueue.rpc.qmp.commands import COMMANDS, Client, Command
from jqueue.rpc.qmp.faults import COMMAND_NOT_FOUND, QmpError
from jqueue.rpc.qmp.message import Request
from jqueue.rpc.session import Session

NEGOTIATION = "qmp_capabilities"


class Dispatcher:
    """Carries out commands on a queue."""

    _log = Logger()

    def __init__(self, queue: QmpQueue) -> None:
        self.queue = queue

    def call(self, request: Request, client: Client) -> Deferred[object]:
        """Carries out a command.

        @return: fires with the result, or fails with a `GenericError`, never with anything else
        """
        try:
            command = _find(request, client)
            _authorise(command, client.session)
            arguments = bind(command.arguments, request.arguments)
            result = command.handler(self.queue, client, **arguments)
        except GenericError as error:
            return fail(error)
        except Exception:
            return fail(self._unexpected(Failure(), request.command))
        if isinstance(result, Deferred):
            return result.addErrback(self._tidy, request.command)
        return succeed(result)

    def _tidy(self, failure: Failure, name: str) -> Failure:
        return failure if failure.check(GenericError) else Failure(self._unexpected(failure, name))

    def _unexpected(self, failure: Failure, name: str) -> ProgrammerError:
        self._log.failure("The command {name} failed in a way that is no error of ours", failure, name=name)
        return ProgrammerError(f"{name} failed inside jqueue; the daemon's log has the details, please report them")


def _find(request: Request, client: Client) -> Command:
    if not client.negotiated and request.command != NEGOTIATION:
        raise QmpError(f"Expecting capabilities negotiation with '{NEGOTIATION}'", COMMAND_NOT_FOUND)
    command = COMMANDS.get(request.command)
    if command is None:
        raise QmpError(f"The command {request.command} has not been found", COMMAND_NOT_FOUND)
    if request.out_of_band:
        raise QmpError(f"The command {request.command} does not support OOB")
    return command


def _authorise(command: Command, session: Session) -> None:
    if session.role is None:
        raise PermissionDenied(
            f"{command.name} refused: the user with uid {session.peer.uid} has no role in this queue; "
            "an administrator can give one in the section roles of its configuration"
        )
    if session.role < command.permission:
        raise PermissionDenied(
            f"{command.name} needs the role {command.permission}, the user with uid {session.peer.uid} has "
            f"{session.role}; ask an administrator of the queue"
        )
