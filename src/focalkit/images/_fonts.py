"""Fonts for class names in any script: Pillow's own, else one of the computer's that has all the letters.

Not here: shaping. Without Pillow's libraqm, scripts that join or turn their letters are drawn letter by letter.
"""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageFont

    Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

FILES = (
    "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSans-Regular.ttf", "DejaVuSans.ttf",
    "NotoSansArabic-Regular.ttf", "NotoSansDevanagari-Regular.ttf", "wqy-zenhei.ttc", "wqy-microhei.ttc", "unifont.ttf",
    "msyh.ttc", "msgothic.ttc", "malgun.ttf", "Nirmala.ttf", "segoeui.ttf", "arial.ttf",
    "PingFang.ttc", "Hiragino Sans GB.ttc", "AppleSDGothicNeo.ttc", "Arial Unicode.ttf",
)  # fmt: skip
"""Fonts with many letters that come with Linux, Windows and macOS, looked for by Pillow where the system keeps them."""
_NOWHERE = "\U0010fffe"
"""No character: what a font draws for it, it draws for everything that it lacks."""


@cache
def font_for(text: str, size: int) -> "Font | None":
    """The first font that has every letter of `text`; None where there is none."""
    default = default_font(size)
    if has_letters(default, text):
        return default
    return next((font for file in FILES if (font := _load(file, size)) and has_letters(font, text)), None)


@cache
def default_font(size: int) -> "Font":
    """Pillow's own font."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def has_letters(font: "Font", text: str) -> bool:
    """Whether the font has a picture of its own for every letter."""
    try:
        missing = _picture(font, _NOWHERE)
        return all(_picture(font, letter) != missing for letter in sorted(set(text)) if not letter.isspace())
    except UnicodeEncodeError:  # Pillow's font without FreeType: Latin-1 alone
        return text.isascii()


def _load(file: str, size: int) -> "Font | None":
    font = _opened(file)
    return font and font.font_variant(size=size)


@cache
def _opened(file: str) -> "ImageFont.FreeTypeFont | None":
    """A font of the system, which takes a walk through its folders to find."""
    from PIL import ImageFont

    try:
        return ImageFont.truetype(file, 20)
    except (OSError, ImportError):
        return None


def _picture(font: "Font", text: str) -> tuple[tuple[int, int], bytes]:
    from PIL import Image, ImageDraw

    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (max(1, round(right - left)), max(1, round(bottom - top))))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font)
    return image.size, image.tobytes()
