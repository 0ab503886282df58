"""Types the commands of README.md's bash blocks into one session, in order, as a person at a terminal does.

    python tests/helpers/readme_session.py README CHECKOUT RESULTS

Each command gets RESULTS/NN.json: section, command, how it was run, exit code, what it said, seconds. The session is one bash with a
terminal (the scripts that ask for a model get an answer), so what a command exports or activates holds for those after it.
"""

import json
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

CHOSEN = "ssd_mobilenet_v1_coco_2018_01_28"
PATIENCE = 600  # seconds in all
MARK = "\036"

# Commands that are not run as they are written: the reason, and what is run in their place ("" for nothing).
EXCEPTIONS: Dict[str, Tuple[str, str]] = {
    "make demo": ("two minutes of its own; tests/way.bats runs its script", ""),
    "pip install -r requirements.txt": (
        "installs; tests/install.bats has what make install does of it",
        "",
    ),
    "pip install --no-deps --no-build-isolation -r requirements-nodeps.txt": (
        "installs; as above",
        "",
    ),
    "tail output2.log -f": (
        "has no end; here it waits for the log and ends with the training",
        "until [ -e output2.log ]; do sleep 0.1; done; tail output2.log -f --pid=$!",
    ),
    "./train.sh --background": (
        "goes on after it; what follows waits for its end",
        "./train.sh --background && ./train.sh --log",
    ),
}


class Command(NamedTuple):
    section: str
    text: str


def commands(markdown: str) -> List[Command]:
    """The commands of the ```bash blocks, each under the heading that it stands below; lines that end in \\ go on."""
    found, section, inside, begun = [], "", False, ""
    for line in markdown.splitlines():
        if line.startswith("```"):
            inside = line == "```bash"
        elif not inside and re.match(r"#+ ", line):
            section = line.lstrip("# ")
        elif inside and line.strip():
            begun += line + "\n"
            if not line.endswith("\\"):
                found.append(Command(section, begun.strip()))
                begun = ""
    return found


def bare(text: str) -> str:
    """A command without the remark behind it."""
    return re.sub(r"\s+# .*$", "", text)


def script(listed: List[Command]) -> str:
    """What bash runs: each command between two marks, the second with its exit code. Nothing stops at a failure."""
    lines = []
    for number, command in enumerate(listed):
        _, instead = EXCEPTIONS.get(bare(command.text), ("", command.text))
        lines.append(
            "printf '%sbegin %d\\n'\n%s\nprintf '%send %%d\\n' $?"
            % (MARK, number, instead or ":", MARK)
        )
    return "\n".join(lines) + "\n"


class Session:
    """Reads what a terminal shows, answers the scripts' question, and keeps a record a command."""

    def __init__(self, listed: List[Command], results: Path):
        self.listed, self.results = listed, results
        self.number, self.began, self.text = -1, 0.0, ""

    def run(self, checkout: Path, file: Path) -> None:
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            ["bash", str(file)],
            cwd=str(checkout),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            close_fds=True,
            start_new_session=True,
        )
        os.close(theirs)
        waiting, deadline = b"", time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            ready, _, _ = select.select([ours], [], [], 1.0)
            try:
                block = os.read(ours, 65536) if ready else b""
            except OSError:  # the last one closed the terminal
                break
            waiting += block
            *whole, waiting = waiting.split(b"\n")
            for line in whole:
                self.take(line.decode("utf-8", "replace").replace("\r", "") + "\n")
            if waiting.endswith(b"Model (number): "):
                os.write(ours, self.answer().encode())
                waiting += b"\n"
            if not ready and process.poll() is not None:
                break
        process.kill()
        process.wait()

    def take(self, line: str) -> None:
        before, mark, told = line.partition(MARK)
        self.text += before
        if mark and told.startswith("begin"):
            self.number, self.began, self.text = int(told.split()[1]), time.monotonic(), ""
        elif mark:
            self.keep(int(told.split()[1]))

    def answer(self) -> str:
        numbers = re.findall(r"(\d+)\) %s\b" % CHOSEN, self.text)
        return "%s\n" % (numbers[-1] if numbers else "none of these")

    def keep(self, status: int) -> None:
        command = self.listed[self.number]
        reason, instead = EXCEPTIONS.get(bare(command.text), ("", command.text))
        record = {
            "section": command.section,
            "command": bare(command.text),
            "excepted": reason,
            "run": instead,
            "status": status,
            "said": self.text,
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
