"""The photos of Load Identity Images over HTTP: listed, added, removed and shown; nothing outside the input folder."""

import io
import os
import shutil

import numpy as np
import pytest
import requests
from PIL import Image

from devkit.comfy_host import ROOT

PHOTOS = "/personalvideo/photos"
ARO = ROOT / "demo" / "identities" / "Aro"
OUTSIDE = ("..", "../input", "../output", "/etc", "anna/..", "./anna", "anna/", "demo/..", "demo/../identities/Aro", "", "\\..\\")


@pytest.fixture
def input_folder(server):
    """The server's input directory with the folder anna of three photos, and something that must stay."""
    folder = server.base / "input"
    shutil.rmtree(folder)
    (folder / "anna").mkdir(parents=True)
    for number in (1, 2, 10):
        shutil.copy(ARO / f"{number if number < 6 else 3}.png", folder / "anna" / f"{number}.png")
    (folder / "anna" / "notes.txt").write_text("mine")
    (folder / "loose.png").write_bytes((ARO / "1.png").read_bytes())
    return folder


def files(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ask(server, method: str, path: str = PHOTOS, **options) -> requests.Response:
    return server.session.request(method, server.url + path, **options)


def send(server, folder: str, name, data: bytes) -> requests.Response:
    return ask(server, "POST", data={"folder": folder}, files={"photo": (name, data)})


def names(server, folder: str) -> list[str]:
    return [photo["name"] for photo in ask(server, "GET", params={"folder": folder}).json()["photos"]]


def encoded(kind: str = "JPEG", size=(200, 300), seed: int = 0, **options) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, kind, **options)
    return content.getvalue()


def refused(answer: requests.Response, status: int, sentence: str) -> bool:
    return answer.status_code == status and sentence in answer.json()["error"] and "\n" not in answer.json()["error"]


def test_photos_are_listed_in_natural_order_and_those_of_the_bundled_people_cannot_be_changed(server, input_folder):
    assert names(server, "anna") == ["1.png", "2.png", "10.png"]
    assert ask(server, "GET", params={"folder": "anna"}).json()["own"] is True
    bundled = ask(server, "GET", params={"folder": "demo/Aro"}).json()
    assert [photo["name"] for photo in bundled["photos"]] == [f"{number}.png" for number in range(1, 6)]
    assert bundled["own"] is False


def test_a_new_person_is_a_new_folder_that_the_node_offers(server, input_folder):
    assert ask(server, "POST", PHOTOS + "/folder", data={"name": "  José 小明 "}).json() == {"folder": "José 小明"}
    assert send(server, "José 小明", "IMG 1.jpg", encoded()).json() == {"photo": "IMG 1.jpg"}
    assert (input_folder / "José 小明" / "IMG 1.jpg").read_bytes() == encoded()
    options = server.object_info()["PersonalVideoLoadIdentityImages"]["input"]["required"]["folder"]
    assert "José 小明" in (options[1]["options"] if isinstance(options[0], str) else options[0])


@pytest.mark.parametrize(
    "name", ["", "  ", ".hidden", "a/b", "..", "a\\b", "c:", "[None]", "clipspace", "x" * 61, "a\0b", "dot."]
)
def test_a_name_that_no_folder_can_have_is_refused(server, input_folder, name):
    before = sorted(input_folder.iterdir())
    assert refused(ask(server, "POST", PHOTOS + "/folder", data={"name": name}), 400, "cannot be a folder's name")
    assert sorted(input_folder.iterdir()) == before


def test_a_new_person_never_gets_into_the_folder_of_another(server, input_folder):
    assert refused(ask(server, "POST", PHOTOS + "/folder", data={"name": "anna"}), 400, "anna is there already")
    (input_folder / "emptied").mkdir()
    assert ask(server, "POST", PHOTOS + "/folder", data={"name": "emptied"}).json() == {"folder": "emptied"}


def test_the_same_photo_is_kept_once_and_another_of_its_name_gets_a_number(server, input_folder):
    photo = (ARO / "1.png").read_bytes()
    assert send(server, "anna", "again.png", photo).json() == {"photo": "1.png"}
    other = encoded("PNG")
    assert send(server, "anna", "1.png", other).json() == {"photo": "1 (2).png"}
    assert (input_folder / "anna" / "1.png").read_bytes() == photo
    assert (input_folder / "anna" / "1 (2).png").read_bytes() == other
    assert len(files(input_folder / "anna")) == 5


def test_a_removed_photo_is_gone_and_nothing_else(server, input_folder):
    before = files(input_folder)
    assert ask(server, "DELETE", params={"folder": "anna", "photo": "2.png"}).ok
    after = files(input_folder)
    assert {name: data for name, data in before.items() if name != "anna/2.png"} == after
    assert names(server, "anna") == ["1.png", "10.png"]


@pytest.mark.parametrize("folder", OUTSIDE)
def test_no_folder_outside_the_list_is_read_or_changed(server, input_folder, folder):
    before, outside = files(server.base / "input"), files(ARO)
    assert refused(ask(server, "GET", params={"folder": folder}), 404, "is not there any more")
    assert send(server, folder, "new.png", encoded("PNG")).status_code == 404
    for method, path in (("DELETE", PHOTOS), ("GET", PHOTOS + "/thumbnail")):
        assert ask(server, method, path, params={"folder": folder, "photo": "1.png"}).status_code == 404
    assert files(server.base / "input") == before and files(ARO) == outside


@pytest.mark.parametrize("photo", ["../loose.png", "../anna/1.png", "/etc/hostname", "notes.txt", "", ".", "1.png/../2.png"])
def test_no_file_but_a_photo_of_the_folder_is_shown_or_removed(server, input_folder, photo):
    before = files(input_folder)
    for method, path in (("DELETE", PHOTOS), ("GET", PHOTOS + "/thumbnail")):
        answer = ask(server, method, path, params={"folder": "anna", "photo": photo})
        assert refused(answer, 404, "is not in the folder anna")
    assert files(input_folder) == before


@pytest.mark.parametrize(
    "sent, kept",
    [
        ("../../escape.png", "escape.png"), ("..\\..\\escape.png", "escape.png"), ("/tmp/escape.png", "escape.png"),
        (".hidden.png", "hidden.png"), ("a:b?.png", "a_b_.png"), ("y" * 200 + ".png", "y" * 56 + ".png"),
    ],
)  # fmt: skip
def test_a_file_name_becomes_a_safe_one_inside_the_folder(server, input_folder, sent, kept):
    before = files(input_folder)
    assert send(server, "anna", sent, encoded("PNG")).json() == {"photo": kept}
    assert files(input_folder) == before | {f"anna/{kept}": encoded("PNG")}


@pytest.mark.parametrize(
    "name, data, sentence",
    [
        ("page.html", b"<script>1</script>", "is not a picture"),
        ("page.png", b"<script>1</script>", "is not a picture"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture"),
        ("script.py", encoded("PNG"), "is not a picture"),
        ("page", encoded("PNG"), "is not a picture"),
        ("cut.jpg", encoded()[:2000], "is damaged"),
        ("nothing.png", b"", "is empty"),
        ("small.png", encoded("PNG", (20, 20)), "has only 20 x 20 pixels"),
    ],
)
def test_what_cannot_be_used_as_a_photo_is_refused_and_not_kept(server, input_folder, name, data, sentence):
    before = files(input_folder)
    assert refused(send(server, "anna", name, data), 400, sentence)
    assert files(input_folder) == before


def test_a_file_that_is_too_large_is_refused_and_not_kept(server, input_folder):
    before = files(input_folder)
    assert refused(send(server, "anna", "huge.png", bytes(101 * 2**20)), 413, "larger than this ComfyUI takes")
    assert files(input_folder) == before


def test_a_picture_of_too_many_pixels_is_refused(server, input_folder):
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    assert refused(send(server, "anna", "bomb.png", bomb.getvalue()), 400, "has 20000 x 20000 pixels, more than 256 million")


def test_a_folder_takes_no_more_photos_than_are_used(server, input_folder):
    for number in range(17):
        assert send(server, "anna", f"more {number}.jpg", encoded(size=(40, 40), seed=number)).ok
    assert refused(send(server, "anna", "one more.jpg", encoded()), 400, "anna has 20 photos already")


def test_bundled_people_and_linked_folders_are_shown_but_never_changed(server, input_folder, tmp_path):
    shutil.copytree(ARO, tmp_path / "album")
    (input_folder / "album").symlink_to(tmp_path / "album")
    for folder, place in (("demo/Aro", ARO), ("album", tmp_path / "album")):
        before = files(place)
        assert names(server, folder) == [f"{number}.png" for number in range(1, 6)]
        assert refused(send(server, folder, "new.png", encoded("PNG")), 400, "by hand")
        assert refused(ask(server, "DELETE", params={"folder": folder, "photo": "1.png"}), 400, "by hand")
        assert files(place) == before


def test_names_that_are_not_utf_8_are_listed_shown_used_and_removed(server, input_folder):
    folder = os.fsencode(input_folder) + b"/\xffperson"
    os.mkdir(folder)
    for number in (1, 2):
        shutil.copy(ARO / f"{number}.png", folder + b"/\xff\xfe%d.png" % number)
    assert names(server, "\\udcffperson") == ["\\udcff\\udcfe1.png", "\\udcff\\udcfe2.png"]
    first = {"folder": "\\udcffperson", "photo": "\\udcff\\udcfe1.png"}
    assert ask(server, "GET", PHOTOS + "/thumbnail", params=first).ok
    run = server.run(identity_graph("\\udcffperson"))
    assert run.outputs["identity"]["photos"][0] == {"name": "\\udcff\\udcfe1.png", "problem": ""}
    assert ask(server, "DELETE", params=first).ok
    assert os.listdir(folder) == [b"\xff\xfe2.png"]


def test_a_file_name_that_is_not_utf_8_can_be_sent(server, input_folder):
    edge = b"--edge\r\nContent-Disposition: form-data; "
    body = edge + b'name="folder"\r\n\r\nanna\r\n' + edge + b'name="photo"; filename="\xff\xfe.png"\r\n\r\n'
    body += encoded("PNG") + b"\r\n--edge--\r\n"
    answer = ask(server, "POST", data=body, headers={"Content-Type": "multipart/form-data; boundary=edge"})
    assert answer.ok and (input_folder / "anna" / answer.json()["photo"]).read_bytes() == encoded("PNG")
    assert answer.json()["photo"].isprintable()


def test_a_thumbnail_is_small_upright_and_shows_formats_that_browsers_do_not(server, input_folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # a phone held upright: turn right by 90 degrees
    (input_folder / "anna" / "phone.jpg").write_bytes(encoded(size=(3000, 2000), exif=exif))
    (input_folder / "anna" / "scan.tif").write_bytes(encoded("TIFF", (1000, 500)))
    for name, size in (("phone.jpg", (267, 400)), ("scan.tif", (400, 200))):
        answer = ask(server, "GET", PHOTOS + "/thumbnail", params={"folder": "anna", "photo": name})
        picture = Image.open(io.BytesIO(answer.content))
        assert picture.format == "WEBP" and answer.headers["Content-Type"] == "image/webp"
        assert max(abs(a - b) for a, b in zip(picture.size, size)) <= 1
    (input_folder / "anna" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    answer = ask(server, "GET", PHOTOS + "/thumbnail", params={"folder": "anna", "photo": "broken.jpg"})
    assert refused(answer, 415, "cannot be shown")


@pytest.mark.parametrize("method, path", [("GET", PHOTOS), ("POST", PHOTOS), ("POST", PHOTOS + "/folder"), ("DELETE", PHOTOS)])
def test_a_request_without_its_fields_is_refused(server, input_folder, method, path):
    assert refused(ask(server, method, path), 400, "lacks")


def test_a_page_of_another_site_can_change_nothing(server, input_folder):
    before = files(input_folder)
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert ask(server, "DELETE", params={"folder": "anna", "photo": "1.png"}, headers=foreign).status_code == 403
    assert files(input_folder) == before


def identity_graph(folder: str, **inputs) -> dict:
    return {
        "demo": {"class_type": "PersonalVideoLoadDemo", "inputs": {}},
        "identity": {
            "class_type": "PersonalVideoLoadIdentityImages",
            "inputs": {"face_model": ["demo", 3], "folder": folder} | inputs,
        },
        "report": {"class_type": "PreviewAny", "inputs": {"source": ["identity", 2]}},
    }


def test_a_run_says_of_each_photo_whether_it_is_used(server, input_folder):
    Image.new("RGB", (64, 64), "teal").save(input_folder / "anna" / "wall.png")
    photos = server.run(identity_graph("anna")).outputs["identity"]["photos"]
    assert [photo["name"] for photo in photos] == ["1.png", "2.png", "10.png", "wall.png"]
    assert [photo["problem"] == "" for photo in photos] == [True, True, True, False]
    assert "wall.png shows no face" in photos[3]["problem"]


def test_a_run_in_which_no_photo_can_be_used_says_so_of_each(server, input_folder):
    (input_folder / "walls").mkdir()
    Image.new("RGB", (64, 64), "teal").save(input_folder / "walls" / "wall.png")
    told = []
    with pytest.raises(RuntimeError, match="no photo can be used"):
        server.run(identity_graph("walls"), on_event=lambda kind, data: told.append(data) if "no_photo" in kind else None)
    assert [(event["node"], event["output"]["photos"][0]["name"]) for event in told] == [("identity", "wall.png")]


@pytest.mark.parametrize("name, shown", [("", "anna"), ("  Anna\n Maria ", "Anna Maria"), ("\ud800", "\\ud800")])
def test_the_report_begins_with_the_name_of_the_person_or_of_the_folder(server, input_folder, name, shown):
    report = server.run(identity_graph("anna", name=name)).outputs["report"]["text"][0]
    assert report.splitlines()[0] == f"{shown}: 3 of 3 photos are used."
