"""``mmcampaign`` and ``python -m mmcampaign``."""

import gc
import os


def main() -> None:
    """Run the command line, without what costs a third of its start and end and serves no command.

    That is Python's search for cycles among all that was imported, once more as it ends: nothing waits for it, for what
    must be closed is closed by whoever opened it. Then pydantic's search for plugins in all installed packages, and the
    threads that NumPy's linear algebra keeps busy.
    """
    gc.set_threshold(200_000, 20, 20)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from mmcampaign.cli import main as run  # noqa: PLC0415  the start-up begins here

    try:
        run()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
