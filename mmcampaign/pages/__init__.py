"""Adapter: the files people look at: dry-run and completion report, previews, and CSV safe to open in a spreadsheet.

``dry_run.py``, ``preview.py`` and ``completion.py`` take values that a use case has filled in and write a folder or a
page; nothing here decides, counts learners or reads a database. Every page opens without a server, without scripts and
without the network.
"""
