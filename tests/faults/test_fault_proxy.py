"""The proxy does to connections what its methods say, and nothing else. The upstream is an echo server."""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from deployment import wait_until
from proxy import FaultProxy

SECONDS = 5.0
"""For anything that is to arrive."""
SILENT = 0.1
"""For what is not to arrive: short, for a test that waits longer shows no more."""


class Echo:
    """Sends everything back, and closes when its peer does."""

    def __init__(self, port: int = 0) -> None:
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self.received = b""
        self.listener = socket.create_server(("127.0.0.1", port))
        self._peers: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        return self.listener.getsockname()

    @property
    def peers(self) -> int:
        """How many are connected now."""
        return len(self._peers)

    def _serve(self) -> None:
        for end in (self.listener, self._woken):
            self._selector.register(end, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                if key.fileobj is self.listener:
                    self._peers.append(self.listener.accept()[0])
                    self._selector.register(self._peers[-1], selectors.EVENT_READ)
                else:
                    self._echo(key.fileobj)

    def _echo(self, peer: socket.socket) -> None:
        data = b""
        with contextlib.suppress(ConnectionError):
            data = peer.recv(2**16)
            peer.sendall(data)
        self.received += data
        if not data:
            self._selector.unregister(peer)
            self._peers.remove(peer)
            peer.close()

    def close(self) -> None:
        if not self._thread.is_alive():
            return
        self._waker.send(b"!")
        self._thread.join()
        for end in (self._selector, self._woken, self._waker, self.listener, *self._peers):
            end.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


@pytest.fixture
def proxy(echo) -> Iterator[FaultProxy]:
    with FaultProxy(echo.address) as made:
        yield made
    made.close()
    assert not any(thread.name.startswith("fault-proxy") for thread in threading.enumerate())


@pytest.fixture
def client(proxy) -> Iterator[socket.socket]:
    """A connection that has echoed once."""
    with connected(proxy) as made:
        assert echoed(made, b"hello") == b"hello"
        yield made


def connected(proxy) -> socket.socket:
    return socket.create_connection(proxy.address, timeout=SECONDS)


def received(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += (part := client.recv(count - len(data)))
        if not part:
            break
    return data


def echoed(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return received(client, len(data))


def is_silent(client: socket.socket) -> bool:
    return not select.select([client], [], [], SILENT)[0]


def test_bytes_pass_in_both_directions(client, proxy):
    """More than the proxy keeps, and than sockets do: somebody has to wait, and nothing gets lost or out of order."""
    data = bytes(range(256)) * 2**15
    sender = threading.Thread(target=client.sendall, args=(data,))
    sender.start()
    assert received(client, len(data)) == data
    sender.join()
    assert proxy.connections == 1


def test_the_end_of_either_side_is_passed_on(client, echo, proxy):
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    wait_until(lambda: echo.peers == proxy.connections == 0, "both ends to be closed")


def test_latency_holds_every_byte_and_keeps_the_order(client, proxy):
    proxy.latency(0.15)
    began = time.monotonic()
    for letter in b"abc":
        client.sendall(bytes([letter]))
    assert received(client, 3) == b"abc"
    assert time.monotonic() - began >= 0.3  # never less: there and back
    proxy.latency(3600)
    client.sendall(b"d")
    assert is_silent(client)
    proxy.heal()
    assert received(client, 1) == b"d"


def test_cut_resets_what_is_there_and_refuses_what_comes(client, echo, proxy):
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connected(proxy)
    wait_until(lambda: echo.peers == 0, "the server's end to be reset")
    proxy.heal()
    with connected(proxy) as another:
        assert echoed(another, b"again") == b"again"


def test_half_open_tells_nobody_and_delivers_late(client, echo, proxy):
    proxy.half_open()
    client.sendall(b"held")
    with connected(proxy) as newcomer, connected(proxy) as impatient:
        newcomer.sendall(b"new")
        impatient.sendall(b"bye")
        impatient.close()
        assert is_silent(client)
        assert is_silent(newcomer)
        assert (echo.received, echo.peers) == (b"hello", 1)
        proxy.heal()
        assert received(client, 4) == b"held"
        assert received(newcomer, 3) == b"new"
    wait_until(lambda: b"bye" in echo.received and echo.peers == 1, "the words and the end of who has left")


def test_one_way_to_the_server(client, echo, proxy):
    """As when answers get lost: the server has acted, and the client does not know."""
    proxy.one_way("to_server")
    client.sendall(b"done")
    wait_until(lambda: echo.received == b"hellodone", "the server to have it")
    assert is_silent(client)
    proxy.heal()
    assert received(client, 4) == b"done"


def test_one_way_to_the_client(client, echo, proxy):
    proxy.latency(0.1)
    client.sendall(b"answer")
    wait_until(lambda: echo.received == b"helloanswer", "the server to have it")
    proxy.one_way("to_client")
    assert received(client, 6) == b"answer"
    client.sendall(b"lost")
    assert is_silent(client)
    assert echo.received == b"helloanswer"
    proxy.heal()
    assert received(client, 4) == b"lost"


def test_the_upstream_dies_and_comes_back(client, echo, proxy):
    address = echo.address
    echo.close()
    assert client.recv(1) == b""
    with pytest.raises(ConnectionResetError), connected(proxy) as refused:
        refused.recv(1)
    again = Echo(address[1])
    try:
        with connected(proxy) as back:
            assert echoed(back, b"back") == b"back"
    finally:
        again.close()


def test_an_upstream_on_a_unix_socket(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with FaultProxy(path) as proxy, connected(proxy) as client:
            client.sendall(b"x")
            server = listener.accept()[0]
            assert server.recv(1) == b"x"
            server.close()
            assert client.recv(1) == b""
    with FaultProxy(path) as proxy, pytest.raises(ConnectionResetError), connected(proxy) as client:
        client.recv(1)
