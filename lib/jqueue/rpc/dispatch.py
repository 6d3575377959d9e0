"""From a method's name and arguments to its result: look-up, permission, checks, and failures that a client may see.

What a request or an error looks like in a protocol does not live here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from jqueue.errors import UNKNOWN_ENTITY, GenericError, OpPrereqError, PermissionDenied, ProgrammerError
from jqueue.rpc.api import QueueApi
from jqueue.rpc.methods import METHODS, Method
from jqueue.rpc.parameters import bind
from jqueue.rpc.session import Session


class Dispatcher:
    """Calls the methods of a queue."""

    _log = Logger()

    def __init__(self, queue: QueueApi, methods: Mapping[str, Method] = METHODS) -> None:
        self._queue = queue
        self._methods = methods

    def call(self, name: str, arguments: Sequence[object], session: Session) -> Deferred[object]:
        """Calls a method.

        @param arguments: in the order of its parameters
        @param session: who calls
        @return: fires with the result, or fails with a `GenericError`, never with anything else
        """
        try:
            method = self._find(name)
            self._authorise(method, session)
            values = bind(method.name, method.parameters, arguments)
            result = method.handler(self._queue, session, *values)
        except GenericError as error:
            return fail(error)
        except Exception:
            return fail(self._unexpected(Failure(), name))
        if isinstance(result, Deferred):
            return result.addErrback(self._tidy, name)
        return succeed(result)

    def _find(self, name: str) -> Method:
        method = self._methods.get(name)
        if method is None:
            near = difflib.get_close_matches(name[:60], self._methods)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(self._methods)}"
            raise OpPrereqError(f"there is no method '{name[:60]}'; {hint}", UNKNOWN_ENTITY)
        return method

    def _authorise(self, method: Method, session: Session) -> None:
        if session.role is None:
            raise PermissionDenied(
                f"{method.name} refused: the user with uid {session.peer.uid} has no role in this queue; "
                "an administrator can give one in the section roles of its configuration"
            )
        if session.role < method.permission:
            raise PermissionDenied(
                f"{method.name} needs the role {method.permission}, the user with uid {session.peer.uid} has "
                f"{session.role}; ask an administrator of the queue"
            )

    def _tidy(self, failure: Failure, name: str) -> Failure:
        return failure if failure.check(GenericError) else Failure(self._unexpected(failure, name))

    def _unexpected(self, failure: Failure, name: str) -> ProgrammerError:
        self._log.failure("The method {method} failed in a way that is no error of ours", failure, method=name)
        return ProgrammerError(f"{name} failed inside jqueue; the daemon's log has the details, please report them")
