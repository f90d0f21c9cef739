"""The layers of Stable Diffusion's UNet as CompVis and Stability AI name them.

Source: diffusers `loaders/single_file_utils.py` (`convert_ldm_unet_checkpoint`).
"""

import re
from collections.abc import Collection, Iterator, Mapping

from imageserver.engine.lora_formats.original_names.original import Original

RESNET = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
REST = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
BLOCK = re.compile(r"(?P<side>down|up)_blocks\.(?P<block>\d+)\.(?P<kind>\w+?)\.(?P<number>\d+)\.(?P<rest>.+)")
MIDDLE = re.compile(r"mid_block\.(?P<kind>\w+?)\.(?P<number>\d+)\.(?P<rest>.+)")
MIDDLE_NUMBERS = {("resnets", "0"): 0, ("attentions", "0"): 1, ("resnets", "1"): 2}


def originals(layers: Collection[str]) -> Mapping[str, Original]:
    """Return the original layers of a UNet with these layers."""
    blocks = [match for name in layers if (match := BLOCK.fullmatch(name))]
    depths = {"down": 0, "up": 0}
    for each in blocks:
        if each["kind"] == "resnets":
            depths[each["side"]] = max(depths[each["side"]], int(each["number"]) + 1)
    attending = {each["block"] for each in blocks if (each["side"], each["kind"]) == ("up", "attentions")}
    return {original: Original((name,)) for name, original in _pairs(layers, depths, attending)}


def _pairs(layers: Collection[str], depths: Mapping[str, int], attending: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield layers with their original names; `depths` are how many resnets a block has on each side."""
    for name in layers:
        if name in REST:
            yield name, REST[name]
        elif match := MIDDLE.fullmatch(name):
            number = MIDDLE_NUMBERS.get((match["kind"], match["number"]))
            if number is not None:
                yield name, f"middle_block.{number}.{_inside(match['kind'], match['rest'])}"
        elif match := BLOCK.fullmatch(name):
            yield name, _in_block(match, depths[match["side"]], match["block"] in attending)


def _in_block(match: re.Match[str], depth: int, attends: bool) -> str:
    block, number, inside = int(match["block"]), int(match["number"]), _inside(match["kind"], match["rest"])
    if match["side"] == "down":
        index = 1 + block * (depth + 1) + (depth if match["kind"] == "downsamplers" else number)
        return f"input_blocks.{index}.{1 if match['kind'] == 'attentions' else 0}.{inside}"
    if match["kind"] == "upsamplers":
        return f"output_blocks.{block * depth + depth - 1}.{2 if attends else 1}.{inside}"
    return f"output_blocks.{block * depth + number}.{1 if match['kind'] == 'attentions' else 0}.{inside}"


def _inside(kind: str, rest: str) -> str:
    if kind == "resnets":
        return RESNET.get(rest, rest)
    return "op" if kind == "downsamplers" and rest == "conv" else rest
