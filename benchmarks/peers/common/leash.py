"""``python leash.py COMMAND...`` runs the command and ends it, with all that it started, when standard input closes.

Run it at the head of a process group: at the end the whole group is killed.
"""

import os
import signal
import subprocess
import sys
import threading


def end_with_parent() -> None:
    # Not sys.stdin: its lock, held by a thread that waits, breaks the end of the interpreter.
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    children: list[subprocess.Popen[bytes]] = []

    def pass_on(*_: object) -> None:
        for child in children:
            child.terminate()

    # First, so that a request to end is passed on and does not end the leash alone.
    signal.signal(signal.SIGTERM, pass_on)
    children.append(subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL))
    threading.Thread(target=end_with_parent, daemon=True).start()
    return children[0].wait()


if __name__ == "__main__":
    sys.exit(main())
