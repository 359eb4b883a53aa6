"""The paper's Table 1 on your own models: people x prompts, trained, sampled and measured by running ComfyUI servers.

    python -m benchmarks.table1.table1 --config benchmarks/table1/example.toml

It has to be run from the pack's folder, and goes on where it was stopped. Every server works on its own people, as a LoRA
stays on the server that trained it. The configuration's output folder gets the videos (with their prompts beside them, as
benchmarks/user_study/blind_page.py takes them), a line of figures for each, and table1.md with the paper's figures beside
ours. All videos are measured as files, our own too, so that compression lowers everybody's figures alike.
"""

import argparse
import queue
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from benchmarks.table1.config import Config, read_config, videos_in
from benchmarks.table1.report import table
from benchmarks.table1.results import Records
from benchmarks.table1.worker import Worker
from devkit.comfy_client import PromptError


def prepare(config: Config, say=print) -> list[tuple[Worker, list[str]]]:
    """The servers, each with its people. Raises ValueError, before anything is made, if something would stop one later."""
    records = Records(config.output)
    workers = [Worker(config, url, records, say) for url in config.servers]
    for identity in config.identities:
        workers[0].check(identity)
    places = {identity: row["server"] for (_, identity), row in records.trained.rows.items()}
    return list(zip(workers, shares(list(config.identities), config.servers, places)))


def shares(people: Sequence[str], servers: Sequence[str], places: Mapping[str, str]) -> list[list[str]]:
    """The people of each server. Whoever has a LoRA on one, as ``places`` says, stays there; the others even it out."""
    found = {url: [identity for identity in people if places.get(identity) == url] for url in servers}
    for identity in people:
        if places.get(identity) not in found:
            min(found.values(), key=len).append(identity)
    return list(found.values())


def run(parts: Sequence[tuple[Worker, Sequence[str]]], say=print) -> None:
    """Make everything that is not there yet, on all servers at once.

    An error that ends the part of one server is told at once, and raised when the others are done.
    """
    ends = queue.SimpleQueue()

    def work(worker: Worker, people: Sequence[str]) -> None:
        try:
            for identity in people:
                worker.person(identity)
        except Exception as error:
            say(f"{worker.client.url} has stopped: {error}")
            ends.put(error)
        else:
            ends.put(None)

    for part in parts:
        threading.Thread(target=work, args=part, daemon=True).start()
    failures = [error for error in (ends.get() for _ in parts) if error is not None]
    if failures:
        raise failures[0]


def fvd(config: Config, say=print) -> dict[str, float]:
    """FVD by method, see benchmarks/table1/fvd.py; empty if the configuration does not ask for it."""
    if config.fvd is None:
        return {}
    from benchmarks.table1.fvd import Features, distances

    methods = {}
    for method in config.methods:
        keys = [key for identity in config.identities for key in config.keys(method, identity)]
        methods[method.name] = [video for key in keys if (video := config.video(method, key))]
    features = Features(config.fvd.weights, config.output / "fvd.safetensors", say)
    return distances(features, videos_in(config.fvd.real, "**/*"), methods)


def write_table(config: Config, distances: Mapping[str, float]) -> str:
    """Write table1.md for the videos that the configuration asks for, and return its text."""
    measured = Records(config.output).measured.rows
    keys = [key for method in config.methods for identity in config.identities for key in config.keys(method, identity)]
    rows = [measured[key] for key in keys if key in measured]
    text = table(rows, [method.name for method in config.methods], distances, config.fvd is not None)
    (config.output / "table1.md").write_text(text, encoding="utf-8")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        config = read_config(arguments.config)
        parts = prepare(config)
    except ValueError as error:
        parser.error(str(error))
    problem, distances = None, {}
    try:
        run(parts)
        distances = fvd(config)
    except PromptError as error:
        problem = f"{error.node_type or 'ComfyUI'}: {error}"
    except (ValueError, RuntimeError, TimeoutError, requests.RequestException) as error:
        problem = str(error)
    except KeyboardInterrupt:
        problem = "Stopped; start it again to go on."
    print(write_table(config, distances))
    if problem:
        parser.exit(1, f"{problem}\n")


if __name__ == "__main__":
    main()
