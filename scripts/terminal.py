"""Runs a command on a terminal of its own and passes on every byte that it shows.

usage: python scripts/terminal.py COLUMNS ROWS COMMAND [ARGUMENT...]

Ends with the command's exit code. Knows nothing of what is shown.
"""

import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Iterator, Sequence


def frames(columns: int, rows: int, command: Sequence[str]) -> Iterator[bytes]:
    """What the command shows, piece by piece; returns its exit code."""
    reading, writing = os.pipe()
    pid, terminal = pty.fork()
    if pid == 0:
        os.close(writing)
        # The command begins once the terminal has its size.
        os.read(reading, 1)
        os.close(reading)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127)
    os.close(reading)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    os.close(writing)
    while True:
        try:
            shown = os.read(terminal, 65536)
        except OSError:
            # Linux says so when nobody holds the other end any more.
            break
        if not shown:
            break
        yield shown
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> int:
    if len(sys.argv) < 4 or not all(number.isdigit() for number in sys.argv[1:3]):
        print("usage: python scripts/terminal.py COLUMNS ROWS COMMAND [ARGUMENT...]", file=sys.stderr)
        return 4
    shown = frames(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    while True:
        try:
            sys.stdout.buffer.write(next(shown))
        except StopIteration as ended:
            sys.stdout.buffer.flush()
            return ended.value


if __name__ == "__main__":
    sys.exit(main())
