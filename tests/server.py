"""`vhs` for shell scripts of tests, without the seconds that importing torch takes: a client beside a server that forks.

`python -m tests.server SOCKET` imports everything once. The script that `client` writes hands it its arguments, folder,
environment and standard streams, and ends with the exit code of the forked child that ran the command on them.
Limits and signals of the client do not reach that child: tests of those start processes of their own.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.faults import warm

CLIENT = """#!{python} -IS
import json, os, socket, sys
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({place!r})
    socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(request)
    os.close(0), os.close(1), os.close(2)
    os._exit(int(server.recv(16) or b"99"))
"""


def client(place: Path, python: str = sys.executable) -> str:
    """The text of a program that runs `vhs` by the server at `place`."""
    return CLIENT.format(python=python, place=str(place))


def begin(place: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a server; returns when it listens."""
    command = [sys.executable, "-m", "tests.server", str(place)]
    process = subprocess.Popen(command, env=environment, cwd=Path(__file__).resolve().parent.parent)
    until = time.monotonic() + 120
    while not place.exists():
        assert process.poll() is None and time.monotonic() < until, shlex.join(command)
        time.sleep(0.05)
    return process


def serve(place: Path) -> None:
    """Answer until killed."""
    warm.import_everything()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{place}.new")
        listening.listen(32)
        os.rename(f"{place}.new", place)
        while True:
            connection, _ = listening.accept()
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listening.close()
                _answer(connection)
            connection.close()


def _answer(connection: socket.socket) -> None:
    """In a child of the server: run one command in a child of its own, and say how it ended."""
    length, streams, _, _ = socket.recv_fds(connection, 8, 3)
    request = b""
    while len(request) < int.from_bytes(length, "big"):
        request += connection.recv(1 << 20)
    argv, folder, environment = json.loads(request)
    child = os.fork()
    if not child:
        connection.close()
        for wanted, stream in enumerate(streams):
            os.dup2(stream, wanted)
        os.closerange(3, 256)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        warm.take_streams()
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        code = 1
        try:
            code = warm.command(argv)
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os._exit(code & 0xFF)
    for number in (0, 1, 2, *streams):
        os.close(number)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    connection.sendall(str(code if code >= 0 else 128 - code).encode())
    os._exit(0)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
