"""``python -m interchange`` converts an adapter between our file, a PEFT folder and a diffusers LoRA file."""

import argparse
import sys
from pathlib import Path

from .convert import from_diffusers, from_peft, to_diffusers, to_peft
from .families import FAMILIES


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m interchange", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, source, target, convert in (
        ("to-peft", "our .safetensors file", "new adapter folder", to_peft),
        ("from-peft", "adapter folder", "new .safetensors file for ComfyUI", from_peft),
        ("to-diffusers", "our .safetensors file", "new .safetensors file for load_lora_weights", to_diffusers),
        ("from-diffusers", "diffusers LoRA file", "new .safetensors file for ComfyUI", from_diffusers),
    ):
        command = commands.add_parser(name, help=f"{source} -> {target}")
        command.add_argument("source", type=Path, help=source)
        command.add_argument("target", type=Path, help=target)
        command.set_defaults(convert=convert)
        if name.startswith("from"):
            command.add_argument("--family", choices=FAMILIES, help="base model, where the adapter does not say")
    options = parser.parse_args(arguments)
    family = {"family": options.family} if "family" in options else {}
    try:
        options.convert(options.source, options.target, **family)
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
