"""The real suites that rpt is compared on: where they come from, what they need.

Source distributions are fetched by their pinned version from whatever package
index pip is set up for, unpacked into .suites/NAME, and installed with what their
tests need into a virtual environment of their own, .suites/NAME/venv. A stamp makes
the second call quick. Standard library only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".suites"
# The newest pytest: every one of the suites below supports it. Each package is
# installed itself, because click's tests look up its version in the metadata.
PYTEST = "pytest==9.2.0"


@dataclasses.dataclass(frozen=True)
class RealSuite:
    """A source distribution with tests."""

    name: str
    version: str
    #: What its tests import beyond itself and pytest.
    needs: tuple[str, ...] = ()
    #: pytest's arguments, the same for plain pytest and rpt.
    arguments: tuple[str, ...] = ("tests",)
    #: What of an id differs at each collection; it is left out of comparisons.
    volatile: re.Pattern[str] | None = None

    @property
    def folder(self) -> pathlib.Path:
        return FOLDER / self.name / "source"

    @property
    def python(self) -> pathlib.Path:
        return FOLDER / self.name / "venv" / "bin" / "python"

    def stable(self, node_id: str) -> str:
        return self.volatile.sub("", node_id) if self.volatile else node_id


SUITES = {
    suite.name: suite
    for suite in (
        RealSuite("click", "8.5.1"),
        RealSuite("jinja2", "3.1.6", needs=("trio==0.35.0",)),
        RealSuite("more-itertools", "11.2.1"),
        RealSuite("boltons", "26.2.0"),
        # Parameters hold the time of the collection; the rest of the id is stable.
        RealSuite("marshmallow", "4.4.0", needs=("simplejson==4.3.0",), volatile=re.compile(r"\[.*\]$", re.DOTALL)),
    )
}


def fetch(suite: RealSuite) -> RealSuite:
    """Makes the suite's source and environment ready; quick when they are."""
    home = FOLDER / suite.name
    wanted = hashlib.sha256(repr((sys.version_info[:3], sys.base_prefix, PYTEST, suite)).encode()).hexdigest()
    stamp = home / "stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return suite
    print(f"fetching {suite.name} {suite.version}", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    _run(sys.executable, "-m", "venv", str(home / "venv"))
    pip = [str(suite.python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    requirement = f"{suite.name}=={suite.version}"
    _run(*pip, "download", "--no-deps", "--no-binary", suite.name, "--dest", str(home), requirement)
    (archive,) = home.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        _unpack(file, home / "unpacked")
    (unpacked,) = (home / "unpacked").iterdir()
    unpacked.rename(suite.folder)
    _run(*pip, "install", PYTEST, *suite.needs, str(suite.folder))
    # What the build left behind would be collected too.
    shutil.rmtree(suite.folder / "build", ignore_errors=True)
    stamp.write_text(wanted)
    return suite


def _unpack(file: tarfile.TarFile, folder: pathlib.Path) -> None:
    if hasattr(tarfile, "data_filter"):
        file.extractall(folder, filter="data")
    else:
        file.extractall(folder)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")


if __name__ == "__main__":
    # For the Makefile: `real_suites.py NAME` prints its folder and its python.
    chosen = fetch(SUITES[sys.argv[1]])
    print(chosen.folder, chosen.python)
