"""What sentences quote: every character can be shown, no folder of the computer is named, no bad advice is passed on."""

import os
import pickle

import pytest


@pytest.fixture(scope="module")
def sentences(pack):
    return pack.sentences


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (os.fsdecode(b"a\xff\xfe.png"), "a\\udcff\\udcfe.png"),
        ("\ud83d alone", "\\ud83d alone"),
        ("red \x1b[31m and a null \x00", "red \\x1b[31m and a null \\x00"),
        ("gnp.\u202egpj", "gnp.\\u202egpj"),
        ("two\n\tlines", "two\n\tlines"),
        ("née 李, \U0001f600, 9.41\u202fAM", "née 李, \U0001f600, 9.41\u202fAM"),
    ],
)
def test_what_cannot_be_shown_is_spelled_out_and_nothing_else(sentences, text, shown):
    assert sentences.printable(text) == shown
    shown.encode()


def test_a_name_stays_in_one_line(sentences):
    assert sentences.one_line("a.png\nused: b.png") == "a.png\\nused: b.png"


@pytest.mark.parametrize(
    ("value", "shown"),
    [("sks", '"sks"'), ("x" * 80, '"' + "x" * 57 + '..."'), (float("nan"), "nan"), (3, "3"), (None, "nothing"), ([1], "a list")],
)
def test_a_value_is_quoted_as_what_it_is(sentences, value, shown):
    assert sentences.quoted(value) == shown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("No such file /home/me/models/x.pt: gone.\nFile path: /home", "No such file x.pt: gone"),
        ("cannot open '/home/me/x.pt'", "cannot open 'x.pt'"),
        (r"bad C:\Users\me\x.pt", "bad x.pt"),
        (r"bad \\server\share\x.pt", "bad x.pt"),
        ("a/b is 3 / 4, see https://example.org/a/b", "a/b is 3 / 4, see https://example.org/a/b"),
        ("loras/anna is opencv/yunet", "loras/anna is opencv/yunet"),
        ("", "ValueError"),
        ("x" * 500, "x" * 120),
    ],
)
def test_a_reason_is_one_line_without_folders(sentences, message, shown):
    assert sentences.reason(ValueError(message)) == shown


def test_reasons_of_the_system_are_its_own_words(sentences, tmp_path):
    with pytest.raises(OSError) as missing:
        (tmp_path / "gone").read_bytes()
    assert sentences.reason(missing.value) == "No such file or directory"


def test_advice_to_load_code_is_not_passed_on(sentences):
    advice = "Weights only load failed. Re-running `torch.load` with `weights_only` set to `False` will likely succeed"
    assert "it could run code" in sentences.reason(pickle.UnpicklingError(advice))
    assert sentences.reason(KeyError("x")) == "it holds something else than it should"
