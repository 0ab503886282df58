"""Reads the text files of the user's labels, up to a size."""

from pathlib import Path

LARGEST = 16 << 20  # bytes; the labels of one image are a few thousand


class BadText(Exception):
    """The file is not text; the message is the reason."""


def read_text(path: Path, most: int = LARGEST) -> str:
    """The text in UTF-8, with or without its mark, or in UTF-16. Raises BadText."""
    try:
        if not path.is_file():
            raise BadText("label file that is a pipe or a folder")
        if path.stat().st_size > most:
            raise BadText("label file of more than %d MB" % (most >> 20))
        data = path.read_bytes()
    except OSError as error:
        raise BadText("label file that cannot be read (%s)" % (error.strerror or "damaged"))
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = data.decode(encoding, "replace")
    if "\0" in text:
        raise BadText("label file that is binary")
    return text
