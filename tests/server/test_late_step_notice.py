"""The Apply node shows what its LoRA did in a sampling, also where the graph asks for nothing but the sampling anew."""

import pytest

from devkit.graphs import sample_graph


def shown(server, sample, **apply):
    """The texts of all nodes while one clip is sampled."""
    texts = []

    def watch(kind, data):
        if kind == "text":
            texts.append((data["node"], data["text"]))

    server.run(sample_graph(apply=apply, sample=sample), timeout=120, on_event=watch)
    return texts


def test_tells_in_how_many_steps_it_acted(server):
    assert shown(server, {"seed": 31, "steps": 8}) == [("apply", "The LoRA acted in 2 of 8 steps.")]
    assert shown(server, {"seed": 31, "steps": 4}) == [("apply", "The LoRA acted in 1 of 4 steps.")]


@pytest.mark.parametrize(
    "sample, apply, text",
    [
        ({"scheduler": "sgm_uniform"}, {"start_percent": 0.75}, "The LoRA did not act: none of the 4 steps lies in its window"),
        ({"scheduler": "karras", "steps": 8}, {}, "The LoRA acted in 7 of 8 steps, its window means 2"),
    ],
)
def test_tells_why_a_clip_may_not_be_as_trained_and_logs_it_once(server, sample, apply, text):
    before = server.log_tail(10**6).count(text)
    ((node, said),) = shown(server, {"seed": 32, **sample}, **apply)
    assert node == "apply" and said.startswith(text)
    assert server.log_tail(10**6).count(text) == before + 1
