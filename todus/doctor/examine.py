"""Runs all checks and collects their findings."""

import traceback
from typing import Any, Callable, List

from todus.doctor import contents, findings, machine, mirrors, packages, unfinished
from todus.doctor.findings import Finding
from todus.errors import TodusError

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
    """Every finding.

    Args:
      deep: also run the checks that import TensorFlow.
      offline: do not check the mirrors. Otherwise their requests run during the other checks.
      tell: called with each finding as soon as it is known.
    """
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
    """The list of the check's findings, or the callable that it returns.

    A check that raises gives one finding, so that the other checks still run.
    """
    try:
        found = check()
        return [found] if isinstance(found, Finding) else found if callable(found) else list(found)
    except ImportError as error:
        return [findings.info(name, "%s: not checked, a package is missing (%s)" % (name, error))]
    except (TodusError, OSError) as error:
        return [findings.error(name, str(error))]
    except Exception as error:  # a half-installed package can raise anything
        where = traceback.extract_tb(error.__traceback__)[-1]
        facts = (name, type(error).__name__, error, where.filename, where.lineno)
        return [findings.error(name, "%s: %s: %s (%s:%d)" % facts, "make install")]
