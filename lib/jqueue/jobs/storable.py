"""What values of opcode code the journal and the job files can hold: both msgpack and JSON, up to a size."""

from __future__ import annotations

import json
from typing import Any

import msgpack

from jqueue.errors import OpExecError


def storable(value: Any, limit: int, what: str) -> Any:
    """Checks a value that an opcode's code gave.

    @param limit: bytes that it may have when packed
    @param what: what to call it in the error
    @return: a copy that its maker cannot change any more
    @raise OpExecError: it cannot be stored, or is larger
    """
    try:
        packed = msgpack.packb(value)
        if len(packed) > limit:
            raise OpExecError(f"{what} is larger than {limit} bytes; put it into a file")
        json.dumps(value, allow_nan=False)
        return msgpack.unpackb(packed, strict_map_key=False)
    except (TypeError, ValueError, OverflowError, RecursionError) as problem:
        raise OpExecError(f"{what} cannot be stored: {problem}") from problem
