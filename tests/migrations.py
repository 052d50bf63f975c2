"""Databases as earlier versions left them."""

from alembic import command
from alembic.config import Config

from mmcampaign.resources import resource
from mmcampaign.store.engine import Store


def go_back(store: Store, revision: str) -> None:
    """To the schema of an earlier version."""
    config = Config()
    config.set_main_option("script_location", str(resource("migrations")))
    with store.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
