"""Has the command server behind $COMMAND_SERVER run `concord` or `dvc` with these arguments, here, and ends like it."""

import json
import os
import signal
import socket
import sys
from pathlib import Path

with socket.socket(socket.AF_UNIX) as server:
    server.connect(os.environ["COMMAND_SERVER"])
    socket.send_fds(server, [b"\n"], [0, 1, 2])
    given = {"command": sys.argv[1:], "folder": str(Path.cwd()), "environment": dict(os.environ)}
    server.sendall(json.dumps(given).encode())
    server.shutdown(socket.SHUT_WR)
    status = server.recv(1)
if not status:
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(status[0])
