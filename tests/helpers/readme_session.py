"""Types the commands of README.md's bash blocks into one terminal session, in order.

    python tests/helpers/readme_session.py README CHECKOUT RESULTS

Writes RESULTS/NN.json for each command: section, command, run (what was typed), status, output and
seconds. The session is one bash, so an exported variable or an activated environment stays. It
answers the scripts that ask for a model.
"""

import json
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import List, NamedTuple

CHOSEN = "ssd_mobilenet_v1_coco_2018_01_28"
TIMEOUT = 1200  # seconds in all
MARK = "\036"

# Command -> what is typed instead, "" for nothing.
EXCEPTIONS = {
    # Packages are there already; tests/install.bats tests make install.
    "pip install -r requirements.txt": "",
    "pip install --no-deps --no-build-isolation -r requirements-nodeps.txt": "",
    # It never ends; this one waits for the log and ends with the training.
    "tail output2.log -f": (
        "until [ -e output2.log ]; do sleep 0.1; done; tail output2.log -f --pid=$!"
    ),
    # The next commands need the end of the training.
    "./train.sh --background": "./train.sh --background && ./train.sh --log",
}


class Command(NamedTuple):
    """A command of the README.

    Attributes:
      section: the heading above it.
      text: without its comment; several lines where they end in a backslash.
    """

    section: str
    text: str

    @property
    def typed(self) -> str:
        return EXCEPTIONS.get(self.text, self.text)


def commands(markdown: str) -> List[Command]:
    """The commands of the ```bash blocks."""
    found, section, in_block, text = [], "", False, ""
    for line in markdown.splitlines():
        if line.startswith("```"):
            in_block = line == "```bash"
        elif not in_block and re.match(r"#+ ", line):
            section = line.lstrip("# ")
        elif in_block and line.strip():
            text += line + "\n"
            if not line.endswith("\\"):
                found.append(Command(section, re.sub(r"\s+# .*$", "", text.strip())))
                text = ""
    return found


def script(listed: List[Command]) -> str:
    """A bash script that prints a mark before each command, and one with the exit code after it."""
    line = "printf '%sbegin %d\\n'\n%s\nprintf '%send %%d\\n' $?\n"
    return "".join(
        line % (MARK, number, command.typed or ":", MARK) for number, command in enumerate(listed)
    )


class Session:
    """Reads the terminal's output, answers questions and writes the record of each command."""

    def __init__(self, listed: List[Command], results: Path):
        self.listed, self.results = listed, results
        self.number, self.began, self.output = -1, 0.0, ""

    def run(self, checkout: Path, file: Path) -> None:
        """Runs the bash script `file` in `checkout`, for at most TIMEOUT seconds."""
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            ["bash", str(file)],
            cwd=str(checkout),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        waiting, deadline = b"", time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            ready, _, _ = select.select([ours], [], [], 1.0)
            try:
                waiting += os.read(ours, 65536) if ready else b""
            except OSError:  # no process has the terminal open
                break
            *lines, waiting = waiting.split(b"\n")
            for line in lines:
                self.read_line(line.decode("utf-8", "replace").replace("\r", "") + "\n")
            if waiting.endswith(b"Model (number): "):
                os.write(ours, self.answer().encode())
                waiting += b"\n"
            if not ready and process.poll() is not None:
                break
        process.kill()
        process.wait()

    def read_line(self, line: str) -> None:
        before, _, mark = line.partition(MARK)
        self.output += before
        if mark.startswith("begin"):
            self.number, self.began, self.output = int(mark.split()[1]), time.monotonic(), ""
        elif mark:
            self.write_record(int(mark.split()[1]))

    def answer(self) -> str:
        """The number of CHOSEN in the list on the terminal."""
        numbers = re.findall(r"(\d+)\) %s\b" % CHOSEN, self.output)
        return "%s\n" % (numbers[-1] if numbers else "none of these")

    def write_record(self, status: int) -> None:
        command = self.listed[self.number]
        record = {
            "section": command.section,
            "command": command.text,
            "run": command.typed,
            "status": status,
            "output": self.output,
            "seconds": round(time.monotonic() - self.began, 1),
        }
        (self.results / ("%02d.json" % self.number)).write_text(json.dumps(record, indent=1))


def main(arguments: List[str]) -> None:
    readme, checkout, results = (Path(each).absolute() for each in arguments)
    results.mkdir(parents=True, exist_ok=True)
    listed = commands(readme.read_text(encoding="utf-8"))
    file = results / "session.bash"
    file.write_text(script(listed), encoding="utf-8")
    Session(listed, results).run(checkout, file)


if __name__ == "__main__":
    main(sys.argv[1:])
