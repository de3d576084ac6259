"""How every `concord` command ends: done, in one line that says what is wrong, or interrupted."""

import signal
from typing import Any

import typer
from typer.core import TyperGroup

from stages.failures import message_for_user
from stages.freed_memory import keep_freed_memory
from stages.terminal import Terminal


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command in the same way as Ctrl-C."""


class Commands(TyperGroup):
    """Ends a user's mistake in one clear line and status 1, an interruption in one and status 130 (SIGTERM: 143).

    Neither shows a traceback, nor does a machine without room, memory or permission. The notes on an interruption's
    exception say what is kept; without any, the command begins anew.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the context names."""
        console = Terminal(stderr=True)
        keep_freed_memory()
        earlier = signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(ctx)
        except Exception as error:
            told = message_for_user(error)
            if told is None:
                raise
            console.print("error:", style="bold red", end=" ")
            console.print(told)
            raise typer.Exit(1) from None
        except KeyboardInterrupt as interruption:
            notes = getattr(interruption, "__notes__", [])
            then = "the same command goes on from here" if notes else "the same command starts anew"
            console.print("; ".join(["interrupted", *notes, then]))
            raise typer.Exit(143 if isinstance(interruption, Terminated) else 130) from None
        finally:
            signal.signal(signal.SIGTERM, earlier)


def _terminate(*_: object) -> None:
    raise Terminated
