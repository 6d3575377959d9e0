"""The smallest useful opcode: parameters and `exec`."""

from __future__ import annotations

import socket

from jqueue.opcodes.base import OpCode, OpContext, param


def _check_port(port: int) -> str | None:
    return None if 1 <= port <= 65535 else f"1 to 65535 expected, got {port}"


class OpWaitForPort(OpCode):
    """Waits until something accepts connections on a TCP port; every opcode has a parameter `timeout` to bound that."""

    OP_ID = "OP_WAIT_FOR_PORT"
    stoppable = True  # exec comes by ctx.sleep often
    restartable = True  # running it again after a crash does no harm
    summary_parameter = "port"

    port: int = param("the TCP port", check=_check_port)
    host: str = param("name or address", default="localhost")
    interval: float = param("seconds between two tries", default=1.0)

    def exec(self, ctx: OpContext) -> int:
        """Gives the number of tries as the result."""
        tries = 1
        while not self._answers():
            if tries == 1:
                ctx.log(f"Nothing answers on {self.host}:{self.port} yet")
            tries += 1
            ctx.sleep(self.interval)  # a pause or a cancel acts here, at once
        return tries

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=5):
                return True
        except OSError:
            return False
