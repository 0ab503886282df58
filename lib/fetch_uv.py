"""Downloads the uv that requirements-uv.txt pins, for any Python 3 without pip.

python3 -I fetch_uv.py FOLDER: writes FOLDER/uv. PIP_INDEX_URL is another index than PyPI.
"""

import hashlib
import html
import io
import os
import platform
import re
import sys
import urllib.parse
import urllib.request
import zipfile

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PINS = os.path.join(REPO, "requirements-uv.txt")
INDEX = "https://pypi.org/simple"
MOST = 100 << 20  # bytes of a wheel, and of the program in it
SECONDS = 60  # without a byte


def main(folder):
    with open(PINS) as file:
        text = file.read()
    version = re.search(r"^uv==(\S+)", text, re.MULTILINE).group(1)
    digests = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", text))
    index = (os.environ.get("PIP_INDEX_URL") or INDEX).rstrip("/") + "/uv/"
    page = get(index).decode("utf-8")
    machine = platform.machine()  # arm64 is macOS's name of aarch64
    system = {"Darwin": "macosx"}.get(platform.system(), "manylinux_2_17")
    name = r"uv-%s-py3-none-%s_[\w.]*%s\.whl" % (re.escape(version), system, machine)
    for link in re.findall(r'href="([^"]+)"', page):
        url = urllib.parse.urldefrag(urllib.parse.urljoin(index, html.unescape(link))).url
        if re.fullmatch(name, url.rpartition("/")[2]):
            wheel = get(url)
            if hashlib.sha256(wheel).hexdigest() not in digests:
                raise ValueError("%s is not the file that requirements-uv.txt pins" % url)
            unpack(wheel, version, folder)
            return
    raise ValueError("%s has no uv %s for this machine" % (index, version))


def get(url):
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        data = answer.read(MOST + 1)
    if len(data) > MOST:
        raise ValueError("%s has more than %d bytes" % (url, MOST))
    return data


def unpack(wheel, version, folder):
    os.makedirs(folder, exist_ok=True)
    path, part = (os.path.join(folder, name) for name in ("uv", ".uv.part"))
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive, open(part, "wb") as file:
        file.write(archive.read("uv-%s.data/scripts/uv" % version))
    os.chmod(part, 0o755)
    os.replace(part, path)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        sys.exit("uv cannot be fetched: %s" % " ".join(str(error).split()))
