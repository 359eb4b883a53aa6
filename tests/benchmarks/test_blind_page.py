"""The blind comparison page: complete, blind, and tallied right."""

import base64
import json

import pytest

from benchmarks.user_study.blind_page import QUESTIONS, find_clips, folders_of, page
from benchmarks.user_study.blind_tally import read_answers, table, tally, wilson

METHODS = ("Ours of Today", "DreamBooth", "MagicMe")


@pytest.fixture
def study(tmp_path):
    """Three methods, two people, two clips each; MagicMe lacks one clip. Files hold their own path."""
    for method in METHODS:
        for name in ("anna/01.mp4", "anna/02.mp4", "ben/01.webp", "ben/02.webp"):
            if (method, name) != ("MagicMe", "ben/02.webp"):
                path = tmp_path / method / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(f"video {method} {name}".encode())
    (tmp_path / "DreamBooth" / "anna" / "01.txt").write_text("a sks person </script> on the beach\n")
    for photo in ("anna/1.png", "anna/2.jpg", "ben/1.png"):
        path = tmp_path / "photos" / photo
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"photo {photo}".encode())
    return tmp_path


@pytest.fixture
def clips(study):
    return find_clips({method: study / method for method in METHODS}, study / "photos")


def data_of(html: str) -> dict:
    text = html.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    return json.loads(text)


def decoded(text: str) -> str:
    return base64.b64decode(text.split(",")[-1]).decode()


def test_every_two_methods_of_a_clip_are_a_pair(clips):
    data = data_of(page(clips))
    assert len(data["pairs"]) == 3 * 3 + 1
    seen = set()
    for pair in data["pairs"]:
        clip = decoded(pair["clip"])
        for side in pair["sides"]:
            method = decoded(data["methods"][side["method"]])
            assert decoded(data["media"][side["media"]]).startswith(f"video {method} {clip}.")
        seen.add((clip, *sorted(decoded(data["methods"][side["method"]]) for side in pair["sides"])))
    assert len(seen) == 10 and ("ben/02", "DreamBooth", "Ours of Today") in seen
    assert tuple(data["questions"]) == QUESTIONS and len(QUESTIONS) == 4


def test_photos_are_those_of_the_clips_person(clips):
    data = data_of(page(clips))
    for pair in data["pairs"]:
        person = decoded(pair["clip"]).split("/")[0]
        photos = [decoded(data["media"][index]) for index in pair["references"]]
        assert photos == {"anna": ["photo anna/1.png", "photo anna/2.jpg"], "ben": ["photo ben/1.png"]}[person]


def test_prompt_is_shown_and_cannot_break_the_page(clips):
    prompts = {decoded(pair["clip"]): pair["prompt"] for pair in data_of(page(clips))["pairs"]}
    assert prompts["anna/01"] == "a sks person </script> on the beach" and prompts["ben/01"] == ""


def test_no_method_is_named_in_clear(clips, study):
    html = page(clips)
    for word in (*METHODS, "anna/01", str(study), 'src="http', "@import"):
        assert word not in html


def test_pairs_can_be_limited_and_are_drawn_by_the_seed(clips):
    def pairs(**options):
        return [
            (pair["clip"], tuple(side["media"] for side in pair["sides"])) for pair in data_of(page(clips, **options))["pairs"]
        ]

    assert len(pairs(most=4)) == 4
    assert pairs(most=4, seed=1) == pairs(most=4, seed=1) != pairs(most=4, seed=2)


def test_one_persons_photos_need_no_folder_of_their_own(study):
    folders = {method: study / method for method in METHODS}
    assert [path.name for path in find_clips(folders, study / "photos" / "anna")[0].references] == ["1.png", "2.jpg"]
    assert find_clips(folders, None)[0].references == ()


def test_mistakes_are_named(study):
    with pytest.raises(ValueError, match="same name"):
        find_clips({"a": study / "MagicMe" / "anna", "b": study / "photos"}, None)
    with pytest.raises(ValueError, match="no folder"):
        find_clips({"a": study / "MagicMe", "b": study / "nobody"}, None)
    with pytest.raises(ValueError, match="no photo"):
        find_clips({method: study / method for method in METHODS}, study)
    with pytest.raises(ValueError, match="Two folders"):
        folders_of(["here/ours"])
    assert list(folders_of(["mine=x/y", "z/theirs"])) == ["mine", "theirs"]


def answers(*choices: tuple[str, str | None], page: str = "p", rater: str = "Ann") -> dict:
    """A question and the preferred one of a and b."""
    listed = [
        {"clip": str(number), "question": question, "left": "a", "right": "b", "choice": choice}
        for number, (question, choice) in enumerate(choices)
    ]
    return {"page": page, "rater": rater, "answers": listed}


def test_shares_by_hand():
    one = answers(("Overall Quality", "a"), ("Overall Quality", "a"), ("Overall Quality", None), ("Text Alignment", "b"))
    two = answers(("Overall Quality", "b"), rater="Bob")
    shares = tally([one, two])
    assert {key: (share.answers, share.points) for key, share in shares.items()} == {
        ("Overall Quality", "a"): (4, 2.5),
        ("Overall Quality", "b"): (4, 1.5),
        ("Text Alignment", "a"): (1, 0.0),
        ("Text Alignment", "b"): (1, 1.0),
    }
    assert "| a | 62% [" in table(shares)


def test_wilsons_interval_by_hand():
    # 8 of 10: z^2 = 3.8415; middle (0.8 + 0.19207) / 1.38415 = 0.71674, reach 1.41602 * sqrt(0.016 + 0.0096036) = 0.22658.
    assert wilson(8, 10) == pytest.approx((0.49016, 0.94332), abs=1e-4)
    assert wilson(0, 5)[0] == pytest.approx(0) and wilson(5, 5)[1] == pytest.approx(1)


@pytest.mark.parametrize("content", ["", "[]", "[1]", "{}", '{"page": 1, "rater": "", "answers": [{"left": "a"}]}', "none", None])
def test_files_without_answers_are_named(tmp_path, content):
    path = tmp_path / "answers.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match="answers.json"):
        read_answers(path)


def test_saved_answers_are_read_as_they_are(tmp_path):
    path, given = tmp_path / "answers Ann.json", answers(("Overall Quality", "a"), ("Text Alignment", None))
    path.write_text(json.dumps(given))
    assert read_answers(path) == given


def test_answers_that_do_not_belong_together_are_refused():
    good = answers(("Overall Quality", "a"))
    with pytest.raises(ValueError, match="different pages"):
        tally([good, answers(("Overall Quality", "a"), page="q", rater="Bob")])
    with pytest.raises(ValueError, match="two files of Ann"):
        tally([good, good])
    with pytest.raises(ValueError, match="single answer"):
        tally([answers()])
