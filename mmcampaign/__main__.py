"""``mmcampaign`` and ``python -m mmcampaign``."""

from mmcampaign.cli import main

if __name__ == "__main__":
    main()
