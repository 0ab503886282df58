"""Looks at this machine, this Python and what lies under TODUS_HOME, and says of each fault what to do.

  make doctor
  python -m todus.commands.doctor [--deep] [--offline] [--json]

Environment: TODUS_HOME, and the mirrors that are asked: COCO_URL, ZOO_URL, OPENIMAGES_URL. Exit codes: 0, 1 where there is an error
(no network and no GPU are warnings), 2 for wrong usage.
"""

import traceback
from typing import Any, Callable, List

from todus.doctor import contents, machine, mirrors, packages, unfinished
from todus.doctor.findings import Finding
from todus.errors import TodusError

# Each is called by itself, so that one that fails in a broken environment leaves the others.
CHECKS = [
    ("python", packages.python),
    ("tensorflow", packages.tensorflow),
    ("packages", packages.pinned),
    ("protos", packages.protos),
    ("evaluation", packages.evaluation),
    ("disk", machine.disk),
    ("memory", machine.memory),
    ("cores", machine.cores),
    ("gpu", machine.graphics),
    ("programs", machine.programs),
    ("unfinished", unfinished.check),
    ("contents", contents.check),
]


def examine(
    deep: bool = False,
    offline: bool = False,
    tell: Callable[[Finding], None] = lambda finding: None,
) -> List[Finding]:
    """Every finding; `tell` is called with each as it comes. The mirrors are asked first and heard last."""
    checks = list(CHECKS)
    if not offline:
        checks.append(("mirrors", attempt("mirrors", mirrors.ask)))
    if deep:
        from todus.doctor.deep import PROBES

        checks += PROBES
    found: List[Finding] = []
    for name, check in checks:
        for finding in attempt(name, check) if callable(check) else check:
            found.append(finding)
            tell(finding)
    return found


def attempt(name: str, check: Callable) -> Any:
    """What the check finds, as a list, or a callable that it gives for later; a finding where the check itself fails."""
    try:
        found = check()
        return [found] if isinstance(found, Finding) else found if callable(found) else list(found)
    except ImportError as error:
        return [
            Finding("info", name, "%s: not looked at, for want of a package (%s)" % (name, error))
        ]
    except (TodusError, OSError) as error:
        return [Finding("error", name, str(error))]
    except Exception as error:  # what a half-installed package raises
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = "%s: %s: %s (%s:%d)" % (
            name,
            type(error).__name__,
            error,
            where.filename,
            where.lineno,
        )
        return [Finding("error", name, text, "make install")]
