"""Tests of `jqueue.rpc.peer`."""

from __future__ import annotations

import os
import socket

import pytest

from jqueue.rpc.peer import Role, Roles, peer_of

OWN = os.geteuid()


class Transport:
    def __init__(self, handle: socket.socket) -> None:
        self._handle = handle

    def getHandle(self) -> socket.socket:
        return self._handle


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = peer_of(Transport(ours))
    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), OWN, os.getegid())
    assert str(peer) == f"pid {os.getpid()}, uid {OWN}"


@pytest.mark.parametrize(
    ("roles", "uid", "role"),
    [
        (Roles(), 0, Role.ADMIN),
        (Roles(), OWN, Role.ADMIN),
        (Roles(), 5000, Role.OPERATOR),
        (Roles(), None, None),
        (Roles(admins={5000}), 5000, Role.ADMIN),
        (Roles(operators={5000}), 5000, Role.OPERATOR),
        (Roles(operators={5000}), 5001, Role.READER),
        (Roles(readers={5000}), 5000, Role.READER),
        (Roles(readers={5000}), 5001, Role.OPERATOR),
        (Roles(run_as=5000), 5000, None),
        (Roles(run_as=5000, readers={5000}), 5000, Role.READER),
        (Roles(run_as=OWN), OWN, Role.ADMIN),
        (Roles(admins={5000}, readers={5000}), 5000, Role.ADMIN),
    ],
)
def test_each_user_has_one_role(roles: Roles, uid: int | None, role: Role | None) -> None:
    assert roles.of(uid) is role


def test_roles_read_as_words() -> None:
    assert [str(role) for role in Role] == ["reader", "operator", "admin"]
