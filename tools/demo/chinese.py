"""Write Chinese captions for scenes: the same descriptions in the other language Qwen-Image speaks."""

import random

from tools.demo.codes import Description, describe_scene
from tools.demo.scenes import Scene, Thing
from tools.demo.vocabulary import CHINESE_COLOURS, CHINESE_KINDS, CHINESE_LANDSCAPES, CHINESE_PLACES, CHINESE_SIZES
from tools.demo.words import (
    CHINESE_ADJECTIVES,
    CHINESE_BAD_QUALITY,
    CHINESE_MAGIC_SUFFIXES,
    CHINESE_NOUNS,
    CHINESE_OPENINGS,
    CHINESE_STYLES,
)

MEASURES = {
    "cat": "只",
    "house": "座",
    "tree": "棵",
    "boat": "艘",
    "flower": "朵",
    "car": "辆",
    "rocket": "枚",
    "fish": "条",
    "star": "颗",
    "heart": "颗",
}


def _first(generator: random.Random, words: tuple[str, ...], plain: float = 0.75) -> str:
    return words[0] if generator.random() < plain else generator.choice(words)


def _noun_phrase(generator: random.Random, thing: Thing, count: int = 1) -> str:
    noun = _first(generator, CHINESE_KINDS[thing.kind])
    colour = _first(generator, CHINESE_COLOURS[thing.colour]) if "colour" in thing.told else ""
    if colour and generator.random() < 0.5:
        colour += "的"
    size = _first(generator, CHINESE_SIZES[thing.size]) if "size" in thing.told else ""
    if size and not size.endswith("的") and generator.random() < 0.5:
        size += "的"
    extra = generator.choice(CHINESE_ADJECTIVES) if generator.random() < 0.12 else ""
    measure = MEASURES.get(thing.kind, "个") if generator.random() < 0.7 else "个"
    number = {1: "一", 2: "两", 3: "三"}[count] + measure
    if count == 1 and generator.random() < 0.35:
        number = ""
    return number + extra + size + colour + noun


def _things_text(generator: random.Random, scene: Scene) -> str:
    things = scene.things
    if len(things) == 1:
        text = _noun_phrase(generator, things[0])
        if "place" in things[0].told:
            place = generator.choice(CHINESE_PLACES[things[0].place])
            text = generator.choice((f"{text}在{place}", f"{place}有{text}", f"{place}的{text}"))
        return text
    alike = len({(t.kind, t.colour, t.size, t.told) for t in things}) == 1
    if alike and scene.relation == "row" and generator.random() < 0.8:
        return _noun_phrase(generator, things[0], len(things))
    phrases = [_noun_phrase(generator, thing) for thing in things]
    if len(things) == 3:
        return "、".join(phrases[:2]) + "和" + phrases[2]
    first, second = phrases
    if scene.relation == "column":
        forms: tuple[str, ...] = (
            f"{first}在{second}上面",
            f"{first}在{second}的上方",
            f"{second}在{first}下面",
            f"上面是{first}，下面是{second}",
        )
    else:
        forms = (
            f"{first}在左边，{second}在右边",
            f"左边是{first}，右边是{second}",
            f"{second}在{first}的右边",
            f"{first}在{second}的左边",
            f"{first}和{second}",
        )
    return generator.choice(forms)


def chinese_caption(generator: random.Random, scene: Scene) -> tuple[str, tuple[Description, ...]]:
    """Write a decorated Chinese caption of a scene, with what it tells."""
    body = _things_text(generator, scene) if scene.things else ""
    if scene.landscape:
        place = _first(generator, CHINESE_LANDSCAPES[scene.landscape], 0.6)
        body = (
            generator.choice((f"{body}，{place}", f"{place}前的{body}", f"{body}，背景是{place}", f"{place}上的{body}"))
            if body
            else place
        )
    elif scene.background:
        colour = _first(generator, CHINESE_COLOURS[scene.background])
        forms = (
            f"{body}，{colour}背景",
            f"{colour}背景上的{body}",
            f"{colour}背景上有{body}",
            f"{body}在{colour}背景上",
            f"{body}，背景是{colour}",
        )
        body = generator.choice(forms) if body else f"{colour}背景"
    if generator.random() < 0.15:
        body = generator.choice(CHINESE_OPENINGS) + body
    if generator.random() < 0.12:
        body += "，" + generator.choice(CHINESE_STYLES)
    if generator.random() < 0.45:
        body += generator.choice(CHINESE_MAGIC_SUFFIXES)
    elif generator.random() < 0.3:
        body += "。"
    return body, describe_scene(scene)


def chinese_null(generator: random.Random) -> str:
    """Write Chinese words that tell nothing."""
    words = generator.sample(CHINESE_BAD_QUALITY + CHINESE_STYLES + CHINESE_NOUNS, generator.randint(1, 4))
    return "，".join(words)
