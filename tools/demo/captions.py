"""Write captions for scenes, in English and Chinese, together with what their words tell."""

import random

from tools.demo.chinese import chinese_caption, chinese_null
from tools.demo.codes import NULL, Description, describe, describe_scene
from tools.demo.scenes import Scene, Thing, sample_scene
from tools.demo.vocabulary import (
    COLOUR_WORDS,
    COLOURS,
    KIND_WORDS,
    LANDSCAPE_WORDS,
    PLACE_WORDS,
    SIZE_WORDS,
)
from tools.demo.words import ADJECTIVES, BAD_QUALITY, MAGIC_SUFFIXES, NOUNS, OPENINGS, STYLES, SURROUNDINGS

Told = tuple[str, tuple[Description, ...]]


def gibberish(generator: random.Random) -> str:
    """Return a word nobody knows."""
    syllables = (
        generator.choice("bcdfghjklmnprstvwz") + generator.choice("aeiou") for _ in range(generator.randint(1, 4))
    )
    return "".join(syllables)


def with_article(phrase: str) -> str:
    """Put "a" or "an" before a phrase."""
    return f"{'an' if phrase[0].lower() in 'aeiou' else 'a'} {phrase}"


def colour_word(generator: random.Random, colour: str, plain: float = 0.8) -> str:
    """Return the colour's name, or now and then a synonym."""
    return colour if generator.random() < plain else generator.choice(COLOUR_WORDS[colour])


def _unknown_adjectives(generator: random.Random) -> list[str]:
    if generator.random() < 0.12:
        return [generator.choice(ADJECTIVES) if generator.random() < 0.8 else gibberish(generator)]
    return []


def _noun_phrase(generator: random.Random, thing: Thing, count: int = 1) -> str:
    noun = thing.kind if generator.random() < 0.72 else generator.choice(KIND_WORDS[thing.kind])
    if thing.kind == "smiley" and generator.random() < 0.5:
        noun = generator.choice(KIND_WORDS["smiley"])
    if "kind" not in thing.told:
        noun = generator.choice(("object", "thing", "shape", *NOUNS))
    words = _unknown_adjectives(generator)
    size = (
        [generator.choice(SIZE_WORDS[thing.size]) if generator.random() < 0.5 else thing.size]
        if "size" in thing.told
        else []
    )
    colour = [colour_word(generator, thing.colour)] if "colour" in thing.told else []
    middle = size + words if generator.random() < 0.7 else words + size
    tail = ""
    if colour and count == 1 and generator.random() < 0.06:
        tail, colour = generator.choice((" in ", " colored ", " that is ")) + colour[0], []
    phrase = " ".join([*middle, *colour, noun])
    if count > 1:
        plural = {"fish": "fish", "cross": "crosses", "box": "boxes"}.get(
            noun, f"{noun}s" if not noun.endswith("s") else f"{noun}es"
        )
        if noun == "smiley face" or noun.endswith("face"):
            plural = f"{noun}s"
        number = {2: ("two", "two", "2", "a pair of", "a couple of"), 3: ("three", "three", "3")}[count]
        return f"{generator.choice(number)} {' '.join([*middle, *colour, plural])}"
    draw = generator.random()
    if draw < 0.82:
        phrase = with_article(phrase)
    elif draw < 0.87:
        phrase = f"one {phrase}"
    elif draw < 0.9:
        phrase = f"the {phrase}"
    return phrase + tail


def _pair(generator: random.Random, scene: Scene, first: str, second: str) -> str:
    if scene.relation == "column":
        forms: tuple[str, ...] = (
            f"{first} above {second}",
            f"{first} on top of {second}",
            f"{first} over {second}",
            f"{second} below {first}",
            f"{second} under {first}",
            f"{second} beneath {first}",
            f"{first} at the top, {second} at the bottom",
            f"{first} at the top and {second} at the bottom",
            f"{second} at the bottom and {first} at the top",
            f"{first} is above {second}",
            f"{second} is below {first}",
        )
    else:
        forms = (
            f"{first} on the left, {second} on the right",
            f"{first} on the left and {second} on the right",
            f"{first} to the left of {second}",
            f"{first} left of {second}",
            f"{second} to the right of {first}",
            f"{second} right of {first}",
            f"{second} on the right, {first} on the left",
            f"{second} on the right and {first} on the left",
            f"{first} is to the left of {second}",
            f"{second} is to the right of {first}",
            f"on the left {first}, on the right {second}",
            f"{first} and {second}",
            f"{first} next to {second}",
            f"{first} beside {second}",
            f"{first} with {second}",
            f"{first} and {second} side by side",
            f"{first}, {second}",
        )
    return generator.choice(forms)


def things_text(generator: random.Random, scene: Scene) -> str:
    """Write the objects of a scene."""
    things = scene.things
    alike = len(things) > 1 and len({(t.kind, t.colour, t.size, t.told) for t in things}) == 1
    if len(things) == 1:
        text = _noun_phrase(generator, things[0])
        if generator.random() < 0.1:
            text += " " + generator.choice(SURROUNDINGS)
        if "place" in things[0].told:
            place = generator.choice(PLACE_WORDS[things[0].place])
            text = (
                f"{place}, {text}" if generator.random() < 0.1 else f"{text}{generator.choice((' ', ' ', ', '))}{place}"
            )
        return text
    if alike and scene.relation == "row" and generator.random() < 0.8:
        row = generator.choice(("", "", "", " in a row", " side by side", " next to each other"))
        return _noun_phrase(generator, things[0], len(things)) + row
    if alike and scene.relation == "column" and generator.random() < 0.5:
        return _noun_phrase(generator, things[0], 2) + generator.choice(
            (", one above the other", " stacked vertically", " on top of each other")
        )
    phrases = [_noun_phrase(generator, thing) for thing in things]
    if len(things) == 2:
        return _pair(generator, scene, *phrases)
    first, second, third = phrases
    return generator.choice(
        (
            f"{first}, {second} and {third}",
            f"{first}, {second}, and {third}",
            f"{first}, {second}, {third}",
            f"{first} on the left, {second} in the middle, {third} on the right",
            f"{first} on the left, {second} in the middle and {third} on the right",
        )
    )


def _landscape_text(generator: random.Random, name: str) -> str:
    text = generator.choice(LANDSCAPE_WORDS[name])
    if generator.random() < 0.12 and text.split()[0] in ("a", "an", "the"):
        article, rest = text.split(" ", 1)
        text = (
            with_article(f"{generator.choice(ADJECTIVES)} {rest}")
            if article != "the"
            else f"the {generator.choice(ADJECTIVES)} {rest}"
        )
    elif generator.random() < 0.1 and text.startswith("a "):
        text = text[2:]
    return text


def scene_text(generator: random.Random, scene: Scene) -> str:
    """Write the plain description of a scene, without decoration."""
    body = things_text(generator, scene) if scene.things else ""
    if scene.landscape:
        landscape = _landscape_text(generator, scene.landscape)
        if not body:
            return landscape
        between = generator.choice(
            (" in front of ", " with ", " and ", ", ", " on a background of ", " in ", " on ", " at ", " by ")
        )
        return f"{body}{between}{landscape}"
    if scene.background:
        colour = colour_word(generator, scene.background, 0.85)
        phrase = f"{colour} background"
        if not body:
            return generator.choice(
                (with_article(phrase), phrase, f"a plain {phrase}", f"an empty {phrase}", f"{colour} wall")
            )
        return generator.choice(
            (
                *[f"{body} on {with_article(phrase)}"] * 5,
                f"{body} against {with_article(phrase)}",
                f"{body} with {with_article(phrase)}",
                f"{body}, {phrase}",
                f"{body}, {phrase}",
                f"{body}. {phrase}",
                f"{body} on {colour}",
                f"{body} on the {phrase}",
                f"{body} in front of {with_article(f'{colour} wall')}",
                f"{body} and {with_article(phrase)}",
                f"{body}, the background is {colour}",
                f"{body} on a plain {phrase}",
                f"on {with_article(phrase)}, {body}",
                f"{phrase}, {body}",
                f"{with_article(phrase)} with {body}",
            )
        )
    return body


def decorate(generator: random.Random, body: str) -> str:
    """Add what people put around a description: openings, styles, unknown words, capitals, punctuation, suffixes."""
    if generator.random() < 0.15:
        body = f"{generator.choice(OPENINGS)} {body}"
    if generator.random() < 0.15:
        body += "".join(f", {generator.choice(STYLES)}" for _ in range(generator.randint(1, 4)))
    if generator.random() < 0.05:
        body += ", " + " ".join(gibberish(generator) for _ in range(generator.randint(1, 4)))
    case = generator.random()
    if case < 0.35:
        body = body[:1].upper() + body[1:]
    elif case < 0.38:
        body = body.upper()
    elif case < 0.41:
        body = body.title()
    if generator.random() < 0.45:
        return body + generator.choice(MAGIC_SUFFIXES)
    return body + generator.choice(("", "", "", "", ".", "!", " ", ","))


def _null_text(generator: random.Random) -> str:
    draw = generator.random()
    if draw < 0.3:
        return generator.choice((" ", "", " ", "  ", "."))
    if draw < 0.65:
        return ", ".join(generator.sample(BAD_QUALITY, generator.randint(1, 7)))
    if draw < 0.8:
        return decorate(generator, ", ".join(generator.sample(STYLES, generator.randint(1, 3))))
    return decorate(generator, " ".join(gibberish(generator) for _ in range(generator.randint(1, 6))))


def _fragment(generator: random.Random) -> Told:
    """Return a piece of a description, as negative prompts are."""
    absent, colour, scene = describe("absent"), generator.choice(tuple(COLOURS)), sample_scene(generator)
    word = colour_word(generator, colour)
    draw = generator.random()
    if draw < 0.3:
        text, told = (
            generator.choice((word, f"{word} color", f"something {word}", f"{word} objects")),
            (describe("any"), describe("any", colour)),
        )
    elif draw < 0.55:
        noun = generator.choice(("object", "thing", *NOUNS))
        text, told = with_article(f"{word} {noun}"), (describe("any"), describe("any", colour))
        if generator.random() < 0.5:
            other = generator.choice([name for name in COLOURS if name != colour])
            text, told = f"{text} on {with_article(f'{other} background')}", (describe("plain", other), told[1])
    elif draw < 0.8:
        noun = " ".join([*_unknown_adjectives(generator), generator.choice(NOUNS)])
        text, told = with_article(noun), (describe("any"), describe("any"))
        if generator.random() < 0.3:
            text += f" {generator.choice(SURROUNDINGS)}"
        if generator.random() < 0.4:
            text, told = f"{text} on {with_article(f'{word} background')}", (describe("plain", colour), told[1])
    elif scene.things:
        kind = scene.things[0].kind
        noun = kind if generator.random() < 0.7 else generator.choice(KIND_WORDS[kind])
        text, told = (
            generator.choice((noun, f"{noun}, {generator.choice(BAD_QUALITY)}")),
            (describe("any"), describe(kind)),
        )
    else:
        text, told = f"{word} background", (describe("plain", colour), absent)
    return decorate(generator, text), (*told, absent, absent)


def sample_caption(generator: random.Random) -> Told:
    """Sample a caption of any sort, with the four descriptions that its words tell."""
    draw = generator.random()
    if draw < 0.07:
        return _null_text(generator), NULL
    if draw < 0.08:
        return chinese_null(generator), NULL
    if draw < 0.18:
        return _fragment(generator)
    scene = sample_scene(generator)
    if draw < 0.33:
        return chinese_caption(generator, scene)
    return decorate(generator, scene_text(generator, scene)), describe_scene(scene)
