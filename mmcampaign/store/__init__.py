"""The database adapter: SQLAlchemy Core, SQLite or PostgreSQL. No SQLAlchemy object but a connection leaves it."""

from mmcampaign.store.engine import Store, open_store

__all__ = ["Store", "open_store"]
