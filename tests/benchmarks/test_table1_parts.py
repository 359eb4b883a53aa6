"""Table 1 without a server: the table from rows made by hand, and the graphs from workflows made by hand."""

import pytest

from benchmarks.table1 import graphs
from benchmarks.table1.report import table


def row_of(method: str, person: str, number: int, similarity: float, how: dict) -> dict:
    figures = {"Face Similarity": similarity, "Dynamic Degree": number % 2}
    return {"key": [method, person, number, 0], "figures": figures, "how": how}


HOW = {"Face Similarity": "mean; judge: me", "Dynamic Degree": "3 of 4 pairs; flow: mine", "CLIP-T": "connect semantic_reward"}


def test_table_stands_below_the_papers():
    rows = [row_of("Mine", person, number, value, HOW) for person, number, value in (("a", 1, 0.5), ("a", 2, 0.7), ("b", 1, 0.8))]
    text = table(rows, ["Mine", "Other"], {}, False)
    lines = text.splitlines()
    assert "| PersonalVideo, the paper | 1000 | 62.35 | 17.80 | 1272.32 | 0.9935 | 26.30 | 76.48 |" in lines
    # People have 60 and 80: mean 70, standard error 10, t for one degree of freedom 12.706.
    assert "| Mine, here | 3 | 70.00 [-57.06, 197.06] | 75.00 [-242.66, 392.66] | - | - | - | - |" in lines
    assert "Other" not in text and "- FVD: not measured; it needs" in text
    assert "- FVD: not measured yet" in table(rows, ["Mine"], {}, True)
    text = table(rows, ["Mine", "Other"], {"Mine": 12.345}, True)
    assert "| 75.00 [-242.66, 392.66] | 12.35 | - | - | - |" in text and "FVD: of torchvision's S3D" in text


def test_notes_say_which_networks_have_judged_and_where_they_differ():
    none = HOW | {"Face Similarity": "me finds no face in any frame", "Attention": "judge = reward"}
    text = table([row_of("Mine", "a", 1, 0.5, HOW), row_of("Mine", "b", 1, 0.0, none)], ["Mine"], {}, False)
    assert "- Face Similarity: mean of max(0, cosine) to the photos, over the frames with a face; by me.\n" in text
    assert "- Dynamic Degree: share of videos that move by VBench's definition; by mine.\n" in text
    assert "- CLIP-T: not measured; connect semantic_reward.\n" in text and "- Attention: judge = reward\n" in text
    other = HOW | {"Face Similarity": "mean; judge: you, which finds no face in 2 of the photos"}
    text = table([row_of("Mine", "a", 1, 0.5, HOW), row_of("Mine", "b", 1, 0.5, other)], ["Mine"], {}, False)
    assert "face; NOT COMPARABLE, as it is of me and of you.\n" in text


def test_figures_of_the_nodes_table():
    text = (
        "| Metric | Value | How |\n| - | - | --- |\n| Face Similarity | 0.512 | mean; judge: x |\n"
        "| Dynamic Degree | does not move | 0 of 7 |\n| Flow, all pixels | 0.31 pixels | mean |\n| CLIP-T | not measured | why |"
    )
    values, how = graphs.figures(text)
    assert values == {"Face Similarity": 0.512, "Dynamic Degree": 0.0, "Flow, all pixels": 0.31}
    assert how["CLIP-T"] == "why"


def graph() -> dict:
    return {
        "1": {"class_type": "Loader", "inputs": {}},
        "2": {"class_type": graphs.APPLY, "inputs": {"model": ["1", 0], "lora_name": "old"}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": ""}, "_meta": {"title": "Prompt"}},
        "4": {"class_type": "KSampler", "inputs": {"model": ["2", 0], "seed": 1}},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0]}},
    }


def test_core_nodes_are_sampled_as_well_and_the_given_graph_stays_as_it_is():
    given = graph()
    made = graphs.sampling(given, "p", 9, "new", "mine")
    assert (made["2"]["inputs"]["lora_name"], made["3"]["inputs"]["text"], made["4"]["inputs"]["seed"]) == ("new", "p", 9)
    assert given == graph()


def test_the_base_model_passes_the_lora_by():
    made = graphs.sampling(graph(), "p", 9, None, "mine")
    assert "2" not in made and made["4"]["inputs"]["model"] == ["1", 0]


@pytest.mark.parametrize(
    "kind, message", [("KSampler", "seed cannot be set"), ("CLIPTextEncode", 'title "Prompt"'), (graphs.APPLY, "0 nodes")]
)
def test_workflows_that_cannot_be_used_are_named(kind, message):
    given = {key: node for key, node in graph().items() if node["class_type"] != kind}
    with pytest.raises(ValueError, match=f"mine: .*{message}"):
        graphs.sampling(given, "p", 9, "new", "mine")


def test_changes_of_unknown_inputs_are_refused():
    with pytest.raises(ValueError, match="no node Nothing"):
        graphs.with_inputs(graph(), {"Nothing": {"a": 1}}, "mine")
    with pytest.raises(ValueError, match="no input sed"):
        graphs.with_inputs(graph(), {"KSampler": {"sed": 1}}, "mine")
