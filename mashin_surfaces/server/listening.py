"""The socket that a server listens on, made before the server so that a taken port is noticed
while there is someone to tell."""

from __future__ import annotations

import errno
import socket

#: Connections that may wait to be accepted.
BACKLOG = 1024


class ListenError(Exception):
    """The address can't be listened on; the message is a sentence with the remedy."""


def listening_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A bound socket that listens; ``shared``: other processes may listen there too."""
    listener = bound_socket(host, port, shared=shared)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def bound_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that has the address and does not listen yet. ``port`` 0: any free one.

    Raises ``ListenError``.
    """
    listener = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise ListenError(_why(error, host, port)) from error
    return listener


def reserved_socket(host: str, port: int) -> socket.socket:
    """A bound, shared socket on an address that nobody has: several workers can listen there, and
    a second server is told that the port is in use."""
    alone = bound_socket(host, port)
    port = alone.getsockname()[1]
    alone.close()
    return bound_socket(host, port, shared=True)


def address_of(listener: socket.socket) -> str:
    """``127.0.0.1:9000``, ``[::1]:9000``."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} of {host} is in use: stop the server that listens there, "
            "or choose another port with --port."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights than this user has: choose one above 1023."
    if isinstance(error, socket.gaierror):
        return f"{host} is no address of this machine: choose another one with --bind."
    return f"Listening on {host}, port {port}, fails: {error.strerror}."
