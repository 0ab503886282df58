"""Recognises a web page that a server, such as a captive portal, sent instead of a file."""


def looks_like_html(data: bytes) -> bool:
    """Whether a file that begins with `data` is an HTML page."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or (
        start.startswith(b"<?xml") and b"<html" in start
    )
