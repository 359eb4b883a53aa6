"""The documents for people: links lead somewhere, and the landing page shows what it makes on the first screen."""

import re

import pytest
import yaml
from PIL import Image

from devkit.comfy_host import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix() for folder in ("", "docs", "demo", "interchange") for path in (ROOT / folder).glob("*.md")
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PICTURE = re.compile(r"!\[[^\]]+\]\(([^)]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SHOWN_WIDTH, FIRST_SCREEN = 1012, 900  # pixels: of a picture on a repository's page, and of a laptop's screen


def anchor(heading: str) -> str:
    """The anchor that GitHub makes of a heading: lower case, hyphens for spaces, no other signs."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page):
    links = LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    for link in (link for link in links if not link.startswith("http")):
        name, _, place = link.partition("#")
        target = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        assert target.exists(), link
        if place:
            assert place in map(anchor, HEADING.findall(target.read_text(encoding="utf-8"))), link


def test_first_picture_of_the_readme_fits_a_screen():
    first = PICTURE.findall((ROOT / "README.md").read_text(encoding="utf-8"))[0]
    width, height = Image.open(ROOT / first).size
    assert height * min(1, SHOWN_WIDTH / width) <= FIRST_SCREEN


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_workflows_and_templates_of_the_repository_are_read(path):
    assert yaml.safe_load(path.read_text(encoding="utf-8"))
