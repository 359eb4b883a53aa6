"""Nodes explain themselves: help pages and texts in every language, as the running server hands them out."""

import ast
import re

import pytest
from PIL import Image

from devkit.comfy_host import ROOT
from devkit.comfy_server import PACK_FOLDER
from tools.locales.node_texts import LOCALES, SOURCE, faults, read_texts, texts_of

DOCS = ROOT / "web" / "docs"
LANGUAGES = sorted(folder.name for folder in LOCALES.iterdir())
NODES = sorted(folder.name for folder in DOCS.iterdir())
SHIPPED = ("adapters", "demo", "evaluation", "host", "nodes", "prompts", "rewards", "training")
BLANK = "…"  # stands for a value, in the quotes of the pages and in the sentences of the source
LARGEST_PICTURE = 300_000

CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)]+)\)")
PICTURE = re.compile(r"!\[[^\]]+\]\(([^)]+)\)")
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-\d+)?")
ITEM = re.compile(r"^- (`[^(（:：]+)", re.MULTILINE)
QUOTE = re.compile(r"^- `([^`]+)`", re.MULTILINE)

every_node = pytest.mark.parametrize("node", NODES)
every_page = pytest.mark.parametrize("node, language", [(node, language) for node in NODES for language in LANGUAGES])


@pytest.fixture(scope="module")
def object_info(server):
    return server.object_info()


@pytest.fixture(scope="module")
def texts(object_info):
    return texts_of(object_info)


@pytest.fixture(scope="module")
def sentences():
    """Every string of the shipped source, one a line, with BLANK where a value is put in."""
    found = []
    for path in (path for folder in SHIPPED for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else BLANK for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(sentence.replace("\n", " ") for sentence in found)


def read(node: str, language: str) -> str:
    return (DOCS / node / f"{language}.md").read_text(encoding="utf-8")


def errors_of(page: str) -> list[str]:
    """What the lists in the page's part on errors, the last but one, quote."""
    return QUOTE.findall(page.split("\n## ")[-2])


def test_every_node_has_a_page_in_every_language(texts):
    assert SOURCE in LANGUAGES and "zh" in LANGUAGES
    wanted = {DOCS / node / f"{language}.md" for node in texts for language in LANGUAGES}
    assert set(DOCS.rglob("*.md")) == wanted


@every_page
def test_page_names_every_input_and_output(node, language):
    """Each input is on the page under the name in the errors' sentences, and under the one that the node shows."""
    names, shown = read_texts(SOURCE)[node], read_texts(language)[node]
    sections = read(node, language).split("\n## ")[1:3]
    for part, section in zip(("inputs", "outputs"), sections, strict=True):
        heads = ITEM.findall(section)
        for key in names[part].keys() - {"control_after_generate"}:
            code, label = f"`{names[part][key]['name']}`", shown[part][key]["name"]
            assert any(code in head and label in head for head in heads), (code, label)


@every_page
def test_quoted_errors_are_those_of_the_source(sentences, node, language):
    for quote in errors_of(read(node, language)):
        pieces = [re.escape(piece.strip()) for piece in quote.split(BLANK)]
        assert re.search(".*".join(pieces), sentences), quote


@every_node
def test_translation_says_as_much_as_the_original(node):
    original = read(node, SOURCE)
    for language in LANGUAGES:
        page = read(node, language)
        for pattern in (LINK, QUOTE):
            assert pattern.findall(page) == pattern.findall(original)
        for pattern in (CODE, NUMBER):
            assert set(pattern.findall(page)) == set(pattern.findall(original))
        for mark in ("\n## ", "\n- "):
            assert page.count(mark) == original.count(mark)


@every_node
def test_pictures_are_there_and_small(node):
    pictures = [DOCS / target for target in PICTURE.findall(read(node, SOURCE))]
    assert pictures
    assert {path for path in (DOCS / node).iterdir() if path.suffix != ".md"} == set(pictures)
    for path in pictures:
        assert path.stat().st_size < LARGEST_PICTURE
        Image.open(path).verify()


@every_page
def test_frontend_finds_the_page_and_its_pictures(server, node, language):
    docs = f"/extensions/{PACK_FOLDER}/docs"
    page = server.get(f"{docs}/{node}/{language}.md")
    assert "html" not in page.headers["Content-Type"]
    assert page.content.decode("utf-8") == read(node, language)
    for target in PICTURE.findall(page.text):
        assert server.get(f"{docs}/{target}").headers["Content-Type"].startswith("image/")


def test_english_texts_are_those_of_the_nodes(texts):
    assert read_texts(SOURCE) == texts, "run tools/locales/build.py"


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != SOURCE])
def test_translated_texts_are_complete(texts, language):
    assert not faults(texts, read_texts(language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_server_hands_out_the_texts(server, language):
    assert server.get("/i18n").json()[language]["nodeDefs"] == read_texts(language)


def test_every_input_and_output_has_a_tooltip(texts):
    for node, text in texts.items():
        assert text["description"], node
        for part in (*text["inputs"].values(), *text["outputs"].values()):
            assert part.get("tooltip") or part["name"] == "control after generate", (node, part["name"])


def test_search_finds_every_node_under_other_words(object_info, texts):
    for node in texts:
        title = object_info[node]["display_name"].lower()
        assert any(word.lower() not in title for word in object_info[node]["search_aliases"]), node
