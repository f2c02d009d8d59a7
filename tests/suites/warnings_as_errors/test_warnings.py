import gc
import os
import socket
import warnings

import pytest


def test_passes():
    gc.collect()


def test_warns():
    warnings.warn("an error here", DeprecationWarning, stacklevel=1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_warns_but_ignored():
    warnings.warn("ignored here", DeprecationWarning, stacklevel=1)


def test_forks(listener):
    with socket.create_connection(listener.getsockname()):
        pass


def test_deprecated_fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def test_leaves_a_cycle():
    class Node:
        pass

    node = Node()
    node.self = node


def test_collects_garbage():
    gc.collect()
