"""Template folders: a new one merges at once, names are checked, nothing there is overwritten."""

from pathlib import Path

import pytest

from mmcampaign.config import Settings
from mmcampaign.errors import InputError, UnavailableError
from mmcampaign.merge import Merger
from mmcampaign.resources import resource
from mmcampaign.template_folders import list_templates, new_template
from tests.worlds import make_settings

SHIPPED = resource("templates") / "emails"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


@pytest.mark.parametrize("name", ["data-science", "x", "2027_spring", "A" * 40])
def test_a_new_template_is_a_folder_that_can_be_merged(settings: Settings, name: str) -> None:
    folder = new_template(settings, name)
    assert folder == settings.templates.dir / name
    assert {path.name for path in folder.iterdir()} == {"subject.txt", "body.html", "body.txt"}
    files = Merger(settings.templates.dir, SHIPPED).load(name).files
    assert "_base/layout.html" in files
    assert not [path for path in settings.templates.dir.iterdir() if path.name.startswith(".")]


def test_the_folder_of_templates_is_made_when_it_is_not_there(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    templates = settings.templates.model_copy(update={"dir": tmp_path / "of" / "ours"})
    moved = settings._replace(templates=templates)
    assert new_template(moved, "lake").parent == tmp_path / "of" / "ours"


@pytest.mark.parametrize("name", ["", "_x", "-x", ".x", "a/b", "..", "a b", "ä", "A" * 41, "x\n"])
def test_a_name_that_will_not_do(settings: Settings, name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name"):
        new_template(settings, name)


@pytest.mark.parametrize("name", ["river", "River", "engy"], ids=["own", "in capitals", "shipped"])
def test_what_is_there_stays(settings: Settings, name: str) -> None:
    with pytest.raises(InputError, match=r"There is a template (river|engy) already") as refused:
        new_template(settings, name)
    assert refused.value.unchanged == "It is as it was."
    assert {path.name for path in settings.templates.dir.iterdir()} == {"river"}


def test_a_disk_that_does_not_take_it_is_told(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    templates = settings.templates.model_copy(update={"dir": tmp_path / "file" / "below"})
    moved = settings._replace(templates=templates)
    with pytest.raises(UnavailableError, match="cannot be written"):
        new_template(moved, "lake")


def test_list_names_users_and_prefers_the_sites_own(settings: Settings) -> None:
    own = settings.templates.dir / "engy"
    own.mkdir()
    found = {each.name: each for each in list_templates(settings)}
    assert list(found) == ["buslead", "corpinn", "engy", "lgdm", "river"]
    assert (found["river"].programs, found["river"].shipped) == (("river",), False)
    assert (found["engy"].folder, found["engy"].shipped) == (own, False)
    assert (found["lgdm"].programs, found["lgdm"].shipped) == ((), True)
