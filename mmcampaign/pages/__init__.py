"""Adapter: the files people look at. Dry-run report, previews, and CSV that is safe to open in a spreadsheet.

``dry_run.py`` and ``preview.py`` take values that a use case has filled in and write a folder; nothing here decides,
counts learners or reads a database. Every page opens without a server, without scripts and without the network.
"""
