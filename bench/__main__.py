"""``python -m bench [main|messages|ingest] [--learners N]``."""

import argparse

from bench import ingest, main_job, messages

parser = argparse.ArgumentParser(prog="python -m bench")
parser.add_argument("what", nargs="?", choices=["main", "messages", "ingest", "all"], default="all")
parser.add_argument("--learners", type=int, default=100_000)
chosen = parser.parse_args()
if chosen.what in ("messages", "all"):
    messages.run()
if chosen.what in ("ingest", "all"):
    ingest.run(chosen.learners)
if chosen.what in ("main", "all"):
    main_job.run(chosen.learners)
