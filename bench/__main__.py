"""``python -m bench [WHAT] [--learners N] [--messages N] [--rounds N]``; ``--help`` lists what there is."""

import argparse
import compileall
import gc
from pathlib import Path

import mmcampaign
from bench import delivery, dry_run, ingest, main_job, messages, million, selection, workers

parser = argparse.ArgumentParser(prog="python -m bench")
parser.add_argument(
    "what",
    nargs="?",
    choices=["main", "messages", "ingest", "selection", "dry-run", "delivery", "workers", "million", "all"],
    default="all",
)
parser.add_argument("--learners", type=int, default=100_000)
parser.add_argument("--messages", type=int, default=3_000)
parser.add_argument("--rounds", type=int, default=3)
chosen = parser.parse_args()
compileall.compile_dir(Path(mmcampaign.__file__).parent, quiet=1)  # as whoever installs it has it
gc.set_threshold(200_000, 20, 20)  # what runs in this process looks for cycles as seldom as the command does
if chosen.what in ("messages", "all"):
    messages.run()
if chosen.what in ("ingest", "all"):
    ingest.run(chosen.learners, chosen.rounds)
if chosen.what in ("selection", "all"):
    selection.run(chosen.learners)
if chosen.what in ("dry-run", "all"):
    dry_run.run(chosen.learners)
if chosen.what in ("delivery", "all"):
    delivery.run(chosen.messages, chosen.rounds)
if chosen.what in ("workers", "all"):
    workers.run(chosen.messages)
if chosen.what in ("main", "all"):
    main_job.run(chosen.learners)
if chosen.what == "million":
    million.run(1_000_000 if chosen.messages == parser.get_default("messages") else chosen.messages)
