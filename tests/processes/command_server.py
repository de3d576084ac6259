"""Starts `concord` and `dvc` by forking a process that has imported everything, which takes longer than their work.

Usage: command_server.py SOCKET. Whoever connects sends streams, command, folder and environment, as
`command_client.py` does, and receives the exit status of the command that is forked for it. A command that is killed
sends none. The server ends with its standard input.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
from importlib import import_module

from dvc.cli import main as dvc

from stages.cli import app as concord

IMPORTED_WHEN_USED = (
    "stages.check",
    "stages.scenes",
    "stages.encode",
    "stages.train",
    "stages.interpret",
    "stages.evaluate",
    "stages.report",
    "pipeline.backbone.loading",
    "dulwich.worktree",
    "dvc.cachemgr",
    "dvc.cli.parser",
    "dvc.data_cloud",
    "dvc.lock",
    "dvc.repo",
    "dvc.repo.index",
    "dvc.scm",
    "networkx",
)
COMMANDS = {"concord": concord, "dvc": dvc}


def main(address: str) -> None:
    """See the module."""
    for name in IMPORTED_WHEN_USED:
        import_module(name)
    gc.freeze()  # a child that collected the objects of before would copy every page they lie on
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for the children
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            with connection:
                if os.fork() == 0:
                    connection.sendall(bytes([given_command(connection)]))
                    os._exit(0)


def given_command(connection: socket.socket) -> int:
    """Become what the client is and run the command in its place; returns the status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    with connection.makefile(encoding="utf-8") as message:
        given = json.load(message)
    os.chdir(given["folder"])
    os.environ.clear()
    os.environ.update(given["environment"])
    sys.argv = given["command"]
    try:
        return int(COMMANDS[sys.argv[0]]() or 0)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main(sys.argv[1])
