"""Runs the tests that watch our seams with LiteLLM against another version of it, and reports seam by seam.

`make litellm-upgrade VERSION=1.107.0` (or, with ARGS=--json, for programs). The version is laid beside the
locked one, under build/, and put before it; everything else stays as locked, and what the version would want
otherwise is listed. Exit status 1 when a seam broke.
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "harness")]

from seam_rows import rows  # noqa: E402 - found only by way of the line above

Outcomes = dict[str, tuple[int, list[str]]]
"""By test file: how many tests ran, and the names of those that failed."""


def laid_out(version: str) -> Path:
    """That version's package in a folder of its own."""
    target = REPOSITORY / "build" / f"litellm-{version}"
    if not (target / "litellm").is_dir():
        print(f"fetching litellm {version}", file=sys.stderr, flush=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", str(target), f"litellm=={version}"], check=True)
    return target


def unmet(target: Path) -> list[str]:
    """What this version wants of other packages and the locked ones do not give."""
    [found] = importlib.metadata.distributions(name="litellm", path=[str(target)])
    wanted: list[str] = []
    for text in found.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": "proxy"}):
            continue
        try:
            there = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wanted.append(f"{requirement} (not installed)")
            continue
        if not requirement.specifier.contains(there, prereleases=True):
            wanted.append(f"{requirement} (locked: {there})")
    return wanted


def run(target: Path, tests: list[str]) -> Outcomes:
    """The tests, with that version first on Python's path."""
    report = target.with_suffix(".xml")
    report.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-o",
        "junit_family=xunit1",
        f"--junitxml={report}",
        *tests,
    ]
    subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(target)}, stdout=sys.stderr, check=False
    )
    found: Outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        path = case.get("file") or case.get("classname", "").replace(".", "/") + ".py"
        name = case.get("name", "")
        failed = case.find("failure") is not None or case.find("error") is not None
        for key in (path, f"{path}::{name.partition('[')[0]}"):
            number, names = found.get(key, (0, []))
            found[key] = (number + 1, [*names, name] if failed else names)
    return found


def main() -> int:
    """Lay out, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("version")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    target = laid_out(given.version)
    wanted = unmet(target)
    seams = rows()
    outcomes = run(target, sorted({test for seam in seams for test in seam.tests}))
    report = []
    for seam in seams:
        ran = [outcomes.get(test, (0, [])) for test in seam.tests]
        failed = [name for _, names in ran for name in names]
        report.append({"symbol": seam.symbol, "tests": sum(n for n, _ in ran), "failed": failed})
    broken = [row for row in report if row["failed"] or not row["tests"]]
    if given.json:
        print(json.dumps({"version": given.version, "wants": wanted, "seams": report}))
    else:
        print(f"\nlitellm {given.version}: {len(report) - len(broken)} of {len(report)} seams hold")
        for row in report:
            said = (
                "holds" if row not in broken else "BROKEN: " + (", ".join(row["failed"][:5]) or "no test ran")
            )
            print(f"  {row['symbol'].replace('`', '')}: {row['tests']} tests, {said}")
        print("\n".join(["wants of other packages:", *(f"  {w}" for w in wanted)]) if wanted else "")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
