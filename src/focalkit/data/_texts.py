"""One opener for the text files of data sets: annotations, labels, lists, class names.

UTF-8 with or without a byte order mark, UTF-16 with one, what an XML file declares, and otherwise Windows-1252 with a
counted warning. Bytes that are none of these are refused.
"""

import codecs
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from focalkit._files import no_file, special
from focalkit.data.check import Findings

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DECLARED = re.compile(rb"""^(?:\xef\xbb\xbf)?\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.-]+)["']""")
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc-kr": "cp949"}
"""Encodings -> the larger ones that programs mean, and write, under their name."""


def read_text(path: Path, findings: Findings) -> str:
    """The text of a file.

    Raises:
        OSError: It is missing, cannot be read, or is no file.
        ValueError: It is not text.
    """
    return _decoded(_bytes(path), path, findings)


def read_lines(path: Path, findings: Findings) -> list[str]:
    """The lines that are not blank, without the space around them.

    Raises:
        OSError, ValueError: As `read_text`.
    """
    return [line.strip() for line in read_text(path, findings).splitlines() if line.strip()]


def read_xml(path: Path, findings: Findings) -> ET.Element:
    """The root of an XML file. Namespaces are taken off the tags; entities from outside are never followed.

    Raises:
        OSError, ValueError: As `read_text`.
        ET.ParseError: It is not XML.
        LookupError: It declares an encoding that nobody knows.
    """
    content = _bytes(path)
    if declared := _DECLARED.match(content):
        name = declared[1].decode().lower()
        # subtle: XML in a str is taken as it is, whatever encoding it declares
        utf16 = name.startswith("utf-16")
        text = _decoded(content, path, findings) if utf16 else content.decode(_WIDER.get(name, name))
    else:
        text = _decoded(content, path, findings)
    root = ET.fromstring(text.lstrip("\ufeff \t\r\n"))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def number_in(text: object) -> int | None:
    """The whole number of nine digits at most that a text is; None where it is none. Python refuses thousands."""
    return int(text) if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 10 else None


def beginning(path: Path, size: int) -> bytes:
    """The first bytes of a file; none where it is no file.

    Raises:
        OSError: It is missing or cannot be read.
    """
    if no_file(path):
        return b""
    with path.open("rb") as file:
        return file.read(size)


def _bytes(path: Path) -> bytes:
    if kind := special(path):
        raise OSError(f"is {kind}, expected a text file")
    return path.read_bytes()


def _decoded(content: bytes, path: Path, findings: Findings) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        if b"\0" in content:
            raise
        text = content.decode("cp1252")
        findings.warn("text files are not UTF-8: read as Windows-1252", str(path))
        return text
