"""Runs a command on a terminal of its own: what comes on stdin is typed there, what the
terminal shows goes to stdout.

usage: python typed.py COMMAND [ARGUMENT...]
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios


def main():
    reading, writing = os.pipe()
    pid, terminal = pty.fork()
    if pid == 0:
        os.close(writing)
        os.read(reading, 1)
        os.execvp(sys.argv[1], sys.argv[1:])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
    os.close(writing)
    sources = {0, terminal}
    while True:
        for source in select.select(list(sources), [], [])[0]:
            try:
                data = os.read(source, 65536)
            except OSError:
                # Linux says so when nobody holds the other end any more.
                data = b""
            if source == terminal and data:
                os.write(1, data)
            elif source == terminal:
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            elif data:
                os.write(terminal, data)
            else:
                sources.discard(0)


if __name__ == "__main__":
    sys.exit(main())
