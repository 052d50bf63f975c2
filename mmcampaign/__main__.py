"""``mmcampaign`` and ``python -m mmcampaign``."""

import gc
import os
import sys
from collections.abc import Callable


def main() -> None:
    """Run the command line, without what costs a third of its start and end and serves no command.

    That is Python's search for cycles among all that was imported, once more as it ends: nothing waits for it, for what
    must be closed is closed by whoever opened it. Then pydantic's search for plugins in all installed packages, and the
    threads that NumPy's linear algebra keeps busy.
    """
    gc.set_threshold(200_000, 20, 20)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        _with_room(_run)
    except KeyboardInterrupt:  # before a command has begun; each has its own word for it
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)
    finally:
        gc.freeze()


def _run() -> None:
    from mmcampaign.cli import main as run  # noqa: PLC0415  the start-up begins here

    run()


def _with_room(work: Callable[[], None]) -> None:
    """Room on Python's stack for all calls that follow.

    It grows by pieces of 16 KB, and what calls across the edge of one takes and gives back memory each time: 1,268
    times in a start, a thirtieth of it. The frame of this function asks for a piece that nothing crosses.
    """
    work()


_with_room.__code__ = _with_room.__code__.replace(co_stacksize=40_000)


if __name__ == "__main__":
    main()
