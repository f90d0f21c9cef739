"""Every word the demo model knows: colours, shapes, subjects, landscapes, places, sizes; synonyms and Chinese names."""

from typing import Final

RGB = tuple[int, int, int]

COLOURS: Final[dict[str, RGB]] = {
    "red": (220, 40, 40),
    "green": (50, 160, 70),
    "blue": (45, 90, 215),
    "yellow": (250, 210, 50),
    "orange": (245, 130, 30),
    "purple": (130, 60, 170),
    "pink": (245, 140, 180),
    "black": (25, 25, 28),
    "white": (248, 248, 246),
    "gray": (140, 142, 146),
    "brown": (120, 75, 40),
    "cyan": (60, 200, 215),
}
SHAPES: Final = ("circle", "square", "triangle", "star", "heart", "crescent", "ring", "cross")
SUBJECTS: Final = ("cat", "house", "tree", "boat", "flower", "sun", "car", "rocket", "fish", "smiley")
KINDS: Final = SHAPES + SUBJECTS
LANDSCAPES: Final = (
    "sunset over mountains",
    "snowy mountains",
    "ocean",
    "beach",
    "night sky",
    "desert",
    "forest",
    "rainbow",
    "city at night",
)
PLACES: Final[dict[str, tuple[float, float]]] = {
    "centre": (0.5, 0.5),
    "left": (0.26, 0.5),
    "right": (0.74, 0.5),
    "top": (0.5, 0.26),
    "bottom": (0.5, 0.74),
    "top left": (0.25, 0.25),
    "top right": (0.75, 0.25),
    "bottom left": (0.25, 0.75),
    "bottom right": (0.75, 0.75),
}
SIZES: Final = ("small", "medium", "large")
# Half the height of an object as a share of the image's short side: alone in the centre, at a side or in a pair, in a
# corner, in a row of three. Few different sizes keep the number of things to learn small.
RADII: Final[dict[str, dict[str, float]]] = {
    "centre": {"small": 0.16, "medium": 0.3, "large": 0.4},
    "side": {"small": 0.12, "medium": 0.195, "large": 0.205},
    "corner": {"small": 0.12, "medium": 0.18, "large": 0.185},
    "three": {"small": 0.12, "medium": 0.138, "large": 0.142},
}
# Colours a subject takes when the prompt names none.
NATURAL_COLOURS: Final[dict[str, tuple[str, ...]]] = {
    "cat": ("orange", "gray", "black", "brown"),
    "house": ("red", "yellow", "blue", "orange"),
    "tree": ("green",),
    "boat": ("red", "blue", "brown"),
    "flower": ("red", "pink", "purple", "orange"),
    "sun": ("yellow", "orange"),
    "car": ("red", "blue", "yellow", "green"),
    "rocket": ("red", "blue", "gray"),
    "fish": ("orange", "blue", "red"),
    "smiley": ("yellow",),
}
# Backgrounds of images whose prompt names none.
PASTELS: Final[tuple[RGB, ...]] = (
    (205, 228, 246),
    (250, 230, 205),
    (214, 240, 212),
    (247, 216, 224),
    (226, 216, 245),
    (240, 238, 226),
)

COLOUR_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "red": ("crimson", "scarlet", "ruby", "bright red", "dark red"),
    "green": ("emerald", "lime", "dark green", "bright green"),
    "blue": ("navy", "azure", "dark blue", "bright blue"),
    "yellow": ("golden", "lemon", "bright yellow", "gold"),
    "orange": ("amber", "bright orange"),
    "purple": ("violet", "lilac", "lavender"),
    "pink": ("rose", "magenta", "hot pink"),
    "black": ("dark", "jet black"),
    "white": ("snow white", "ivory"),
    "gray": ("grey", "silver", "light gray"),
    "brown": ("chocolate", "tan"),
    "cyan": ("turquoise", "teal", "light blue", "aqua"),
}
KIND_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "circle": ("disc", "ball", "dot", "round shape", "sphere", "disk"),
    "square": ("box", "cube", "square shape"),
    "triangle": ("triangular shape", "triangle shape"),
    "star": ("five-pointed star", "star shape"),
    "heart": ("heart shape", "love heart"),
    "crescent": ("crescent moon", "half moon", "crescent shape"),
    "ring": ("donut", "doughnut", "hoop"),
    "cross": ("plus sign", "plus", "cross shape"),
    "cat": ("kitten", "kitty", "cat face", "tabby cat"),
    "house": ("cottage", "home", "cabin", "hut"),
    "tree": ("oak", "oak tree", "apple tree"),
    "boat": ("sailboat", "ship", "sailing boat", "yacht"),
    "flower": ("daisy", "blossom", "sunflower"),
    "sun": ("shining sun", "sunshine"),
    "car": ("automobile", "sports car", "toy car", "vehicle"),
    "rocket": ("spaceship", "space rocket", "rocket ship"),
    "fish": ("goldfish", "tropical fish"),
    "smiley": ("smiling face", "smiley face", "happy face", "emoji", "face"),
}
LANDSCAPE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "sunset over mountains": (
        "a sunset over mountains",
        "a sunset over the mountains",
        "sunset behind the mountains",
        "mountains at sunset",
        "a mountain sunset",
        "a sunset",
        "an evening sky over mountains",
        "a sunrise over mountains",
    ),
    "snowy mountains": (
        "snowy mountains",
        "mountains with snow",
        "snow covered mountains",
        "mountains",
        "a mountain landscape",
        "the mountains",
        "a snowy mountain",
        "a mountain",
        "high peaks with snow",
    ),
    "ocean": ("the ocean", "the sea", "an ocean", "ocean waves", "the open sea", "blue sea", "a calm sea", "a lake"),
    "beach": ("a beach", "the beach", "a sandy beach", "a tropical beach", "a beach by the sea", "the seaside"),
    "night sky": (
        "a night sky",
        "the night sky",
        "a starry night",
        "a night sky with moon and stars",
        "moon and stars at night",
        "a starry sky",
        "outer space",
    ),
    "desert": ("a desert", "the desert", "sand dunes", "desert dunes", "a sandy desert"),
    "forest": ("a forest", "the forest", "a green forest", "the woods", "a pine forest", "trees in a forest"),
    "rainbow": ("a rainbow", "a rainbow over a field", "a rainbow in the sky", "a rainbow over green hills"),
    "city at night": (
        "a city at night",
        "a city skyline at night",
        "skyscrapers at night",
        "a city skyline",
        "a city",
        "a futuristic city",
        "the city at night",
    ),
}
PLACE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "centre": ("in the centre", "in the center", "in the middle", "centered"),
    "left": ("on the left", "on the left side", "at left", "at the left"),
    "right": ("on the right", "on the right side", "at right", "at the right"),
    "top": ("at the top", "in the upper half", "at top"),
    "bottom": ("at the bottom", "in the lower half", "at bottom"),
    "top left": ("in the top left corner", "at the top left", "in the upper left", "in the upper left corner"),
    "top right": ("in the top right corner", "at the top right", "in the upper right", "in the upper right corner"),
    "bottom left": ("in the bottom left corner", "at the bottom left", "in the lower left", "in the lower left corner"),
    "bottom right": ("in the bottom right corner", "at the bottom right", "in the lower right"),
}
SIZE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "small": ("small", "tiny", "little"),
    "medium": ("medium", "medium-sized", "medium sized"),
    "large": ("large", "big", "huge", "giant"),
}

CHINESE_COLOURS: Final[dict[str, tuple[str, ...]]] = {
    "red": ("红色", "红"),
    "green": ("绿色", "绿"),
    "blue": ("蓝色", "蓝"),
    "yellow": ("黄色", "黄"),
    "orange": ("橙色", "橘色"),
    "purple": ("紫色", "紫"),
    "pink": ("粉色", "粉红色"),
    "black": ("黑色", "黑"),
    "white": ("白色", "白"),
    "gray": ("灰色", "灰"),
    "brown": ("棕色", "褐色"),
    "cyan": ("青色", "天蓝色"),
}
CHINESE_KINDS: Final[dict[str, tuple[str, ...]]] = {
    "circle": ("圆形", "圆", "圆圈", "球"),
    "square": ("正方形", "方块", "方形"),
    "triangle": ("三角形",),
    "star": ("星星", "五角星", "星形"),
    "heart": ("心形", "爱心", "心"),
    "crescent": ("月牙", "新月", "弯月"),
    "ring": ("圆环", "环", "甜甜圈"),
    "cross": ("十字", "十字形", "加号"),
    "cat": ("猫", "小猫", "猫咪"),
    "house": ("房子", "屋子", "小屋"),
    "tree": ("树", "大树"),
    "boat": ("船", "帆船", "小船"),
    "flower": ("花", "花朵", "小花"),
    "sun": ("太阳",),
    "car": ("汽车", "车", "小汽车"),
    "rocket": ("火箭", "飞船"),
    "fish": ("鱼", "小鱼", "金鱼"),
    "smiley": ("笑脸", "笑脸表情"),
}
CHINESE_LANDSCAPES: Final[dict[str, tuple[str, ...]]] = {
    "sunset over mountains": ("山上的日落", "日落", "夕阳下的山", "群山日落"),
    "snowy mountains": ("雪山", "山", "高山", "山脉"),
    "ocean": ("大海", "海洋", "海", "海浪"),
    "beach": ("海滩", "沙滩", "海边"),
    "night sky": ("夜空", "星空", "有月亮和星星的夜空"),
    "desert": ("沙漠", "沙丘"),
    "forest": ("森林", "树林"),
    "rainbow": ("彩虹", "天上的彩虹"),
    "city at night": ("城市夜景", "夜晚的城市", "城市"),
}
CHINESE_PLACES: Final[dict[str, tuple[str, ...]]] = {
    "centre": ("中间", "中央"),
    "left": ("左边", "左侧"),
    "right": ("右边", "右侧"),
    "top": ("上方", "上面"),
    "bottom": ("下方", "下面"),
    "top left": ("左上角",),
    "top right": ("右上角",),
    "bottom left": ("左下角",),
    "bottom right": ("右下角",),
}
CHINESE_SIZES: Final[dict[str, tuple[str, ...]]] = {
    "small": ("小", "小小的"),
    "medium": ("中等大小的",),
    "large": ("大", "巨大的"),
}
