"""A server for the whole session on a port that is always the same, counted."""

import socket
import threading
import zlib

import pytest


def port_of(rootpath):
    """One for each copy of this suite."""
    return 10000 + zlib.crc32(str(rootpath).encode()) % 20000


@pytest.fixture(scope="session")
def address(request):
    return "127.0.0.1", port_of(request.config.rootpath)


@pytest.fixture(scope="session")
def server(address, request):
    with open(request.config.rootpath / "set_ups.txt", "a") as file:
        file.write("one\n")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()

        def answer():
            while True:
                connection, _ = listener.accept()
                with connection:
                    word = connection.recv(100)
                    if word == b"end":
                        return
                    connection.sendall(word.upper())

        thread = threading.Thread(target=answer)
        thread.start()
        yield address
        with socket.create_connection(address) as connection:
            connection.sendall(b"end")
        thread.join()


@pytest.fixture
def ask(server):
    def ask(word):
        with socket.create_connection(server) as connection:
            connection.sendall(word.encode())
            return connection.recv(100).decode()

    return ask
