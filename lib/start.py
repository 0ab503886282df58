"""Runs a module of the repository: start.py -m MODULE ARGS...

Like python -m, but never with the working directory in sys.path: a todus.py or ssl.py there would
run in place of the module with that name. Python 3.7 has no option -P.
"""

import sys

_FOLDER = __file__.rsplit("/", 1)[0]
_REPO = _FOLDER.rsplit("/", 1)[0]
# Before any import that reads a file.
sys.path[:] = [_REPO] + [place for place in sys.path if place not in ("", _FOLDER, _REPO)]

import runpy

if __name__ == "__main__":
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
