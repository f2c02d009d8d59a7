"""Owns test modules as pytest rewrote and compiled them, kept by their content: where
no bytecode may be written, and in a fresh checkout with a restored cache, they need
not be rewritten anew. What is kept is what pytest's own rewriting made.

Keeping is a saving, never a need: what cannot be read or written is rewritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import marshal
import os
import pathlib
import sys
import time
import types
import warnings
from typing import Any, Callable

import pytest
from _pytest.assertion import rewrite

from rpt_shim import versions
from rpt_shim.dependencies import Dependencies

#: Below rootdir.
FOLDER = os.path.join(".rpt", "cache", "rewritten")

#: Files that nobody used for so long are removed when others are written.
MAX_AGE_SECONDS = 30 * 24 * 3600

#: How old the time of a file's last use may be before it is written anew.
PRECISION_SECONDS = 24 * 3600


def install(config: pytest.Config, dependencies: Dependencies | None) -> None:
    """Before the first module is rewritten; where this pytest is one of the tested versions."""
    if versions.is_tested() and rewrite._rewrite_test.__module__ == "_pytest.assertion.rewrite":
        kept = Kept(str(config.rootpath), rewrite._rewrite_test, dependencies)
        rewrite._rewrite_test = kept.rewrite_test


class Kept:
    """Stands for rewrite._rewrite_test, whose answer is a module's source hash and code."""

    def __init__(
        self,
        rootdir: str,
        pytests: Callable[[pathlib.Path, pytest.Config], tuple[bytes, types.CodeType]],
        dependencies: Dependencies | None,
    ) -> None:
        self.root = os.path.join(rootdir, "")
        self.folder = os.path.join(rootdir, FOLDER)
        self.pytests = pytests
        self.dependencies = dependencies
        self.writes = True

    def rewrite_test(self, fn: pathlib.Path, config: pytest.Config) -> tuple[bytes, types.CodeType]:
        # What pytest says of a module that cannot be rewritten names its own code alone.
        __tracebackhide__ = True
        if not str(fn).startswith(self.root):
            # Tests of plugins write modules into folders that are new in each run.
            return self.pytests(fn, config)
        source = fn.read_bytes()
        path = os.path.join(self.folder, _key(fn, source, config))
        code = self._read(path)
        if code is not None:
            return importlib.util.source_hash(source), code
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            source_hash, code = self.pytests(fn, config)
        if caught:
            # They are said each time that a module is rewritten.
            return self.pytests(fn, config)
        # Somebody may have written the file meanwhile.
        if source_hash == importlib.util.source_hash(source):
            self._write(path, code)
        return source_hash, code

    def _read(self, path: str) -> types.CodeType | None:
        with self._unwatched(), contextlib.suppress(OSError, ValueError, EOFError, TypeError), open(path, "rb") as file:
            status = os.fstat(file.fileno())
            # What others may have written is never run.
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return None
            digest, content = file.read(32), file.read()
            if hashlib.sha256(content).digest() == digest:
                if time.time() - status.st_mtime > PRECISION_SECONDS:
                    os.utime(path)
                code = marshal.loads(content)
                return code if isinstance(code, types.CodeType) else None
        return None

    def _write(self, path: str, code: types.CodeType) -> None:
        if not self.writes:
            return
        content = marshal.dumps(code)
        unfinished = f"{path}.{os.getpid()}.new"
        try:
            with self._unwatched():
                if not os.path.isdir(self.folder):
                    self._make_folder()
                with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                    file.write(hashlib.sha256(content).digest() + content)
                os.replace(unfinished, path)
                self._prune(os.path.basename(path)[:2])
        except OSError:
            self.writes = False
            with contextlib.suppress(OSError):
                os.unlink(unfinished)

    def _make_folder(self) -> None:
        os.makedirs(self.folder, exist_ok=True)
        ignore = os.path.join(os.path.dirname(os.path.dirname(self.folder)), ".gitignore")
        with contextlib.suppress(FileExistsError), open(ignore, "x") as file:
            file.write("*\n")

    def _prune(self, prefix: str) -> None:
        """Removes what nobody used for long: of one in 256 files, so that many that are
        written at once do not look at all of them each."""
        oldest = time.time() - MAX_AGE_SECONDS
        if prefix == "00":
            for entry in os.scandir(self.folder):
                if entry.stat().st_mtime < oldest:
                    os.unlink(entry.path)

    @contextlib.contextmanager
    def _unwatched(self) -> Any:
        """What is kept depends on what the collection depends on, and is nobody's dependency."""
        if self.dependencies is None or self.dependencies.busy:
            yield
            return
        self.dependencies.busy = True
        try:
            yield
        finally:
            self.dependencies.busy = False


def _key(fn: pathlib.Path, source: bytes, config: pytest.Config) -> str:
    """Everything that rewriting and compiling depend on."""
    parts = (
        os.fsencode(fn),
        pytest.__version__.encode(),
        sys.version.encode(),
        importlib.util.MAGIC_NUMBER,
        b"%d" % sys.flags.optimize,
        b"%d" % bool(config.getini("enable_assertion_pass_hook")),
        source,
    )
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()[:40]
