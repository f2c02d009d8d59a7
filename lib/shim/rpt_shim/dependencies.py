"""Owns what a collection depended on: every file that was opened or imported, every
folder that was listed, and what was done that cannot be looked at again. Seen through
Python's audit events while pytest collects; silent afterwards, since a hook can never
be taken off. Judges nothing: rpt compares what is said here with the disk.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import time
from typing import Any

import pytest

from rpt_shim import wire
from rpt_shim.seclusion import Seclusion

#: Modules that list folders only to find what can be imported or collected.
FINDERS = frozenset(
    (
        "_frozen_importlib_external",
        "importlib._bootstrap_external",
        "importlib.metadata",
        "importlib_metadata",
        # Where conftests may lie: folders called test*.
        "_pytest.config",
        "_pytest.pathlib",
        "_pytest.main",
        "_pytest.python",
    )
)

#: Modules that list folders for whoever calls them.
WALKERS = frozenset(("pathlib", "pathlib._local", "pathlib._os", "glob", "os"))

#: What programs the standard library asks about the machine.
ASKED_BY_THE_LIBRARY = frozenset(("platform", "ctypes.util", "uuid", "sysconfig", "_aix_support", "_osx_support"))

#: Places that are no files of anybody's.
NO_FILES = ("/proc/", "/sys/", "/dev/")

#: What decides the configuration and the package of a file, in its folder and above.
PROBED = (
    "pytest.toml",
    ".pytest.toml",
    "pytest.ini",
    ".pytest.ini",
    "pyproject.toml",
    "tox.ini",
    "setup.cfg",
    "setup.py",
    "conftest.py",
    "__init__.py",
)

#: What pytest keeps of earlier runs, and reads at every start without using it
#: unless one of these options is given.
MEMORY = ("lastfailed", "nodeids", "stepwise")
MEMORY_OPTIONS = ("lf", "failedfirst", "newfirst", "stepwise")

#: Hooks by which a plugin decides what is collected, in which order or under which name.
COLLECTION_HOOKS = (
    "pytest_collection",
    "pytest_collection_modifyitems",
    "pytest_collection_finish",
    "pytest_ignore_collect",
    "pytest_collect_directory",
    "pytest_collect_file",
    "pytest_pycollect_makemodule",
    "pytest_pycollect_makeitem",
    "pytest_generate_tests",
    "pytest_make_collect_report",
    "pytest_make_parametrize_id",
    "pytest_collectstart",
    "pytest_collectreport",
    "pytest_itemcollected",
    "pytest_deselected",
    "pytest_markeval_namespace",
)

#: How files are named that only exist because Python keeps compiled code.
BYTECODE_FOLDER = "__pycache__"

#: How pytest names its cache folder while it makes it, and what it puts there.
CACHE_IN_MAKING = "pytest-cache-files-"
CACHE_FILES = frozenset(("README.md", ".gitignore", "CACHEDIR.TAG"))


class Dependencies:
    """Watches from its making until `stop`."""

    def __init__(self, begin: float) -> None:
        #: When the process began, in seconds since the epoch: what changed later may
        #: have been read before it changed.
        self.began_ns = int(begin * 1e9)
        #: By path: its state when it was first opened, and when that was.
        self.opened: dict[str, tuple[Any, int]] = {}
        #: By path: its entries when it was first listed, and whether all of them count.
        self.listed: dict[str, tuple[list[str] | None, bool]] = {}
        #: Sources that somebody else than pytest reads, or imports.
        self.read_by: set[str] = set()
        self.seclusion = Seclusion(installed_prefixes())
        self.stdlib = os.path.realpath(sysconfig.get_path("stdlib")) + os.sep
        self.made: set[str] = set()
        #: Folders that the collection made, each with a slash, by where they really are: what is in
        #: them is its own.
        self.made_folders: tuple[str, ...] = ()
        self.unseen: str | None = None
        self.busy = False
        #: The modules there were when it began to look at a part; none: it looks at all.
        self.modules_before: set[str] | None = None
        self.events = {
            "open": self._open,
            "os.listdir": self._list,
            "os.scandir": self._list,
            "os.mkdir": self._make_folder,
            "os.link": self._bring_in,
            "os.rename": self._bring_in,
            "sqlite3.connect": self._open_database,
            "ctypes.dlopen": self._open_library,
            "socket.connect": self._connect,
            "subprocess.Popen": self._start_program,
            "os.system": self._start_program,
            "os.posix_spawn": self._start_program,
            "os.exec": self._start_program,
            "os.fork": self._start_program,
            "os.forkpty": self._start_program,
        }
        self.interest = dict(self.events)
        sys.addaudithook(self._hook)

    def goes_on(self, begin: float) -> None:
        """In a fork, whose session begins then: what was loaded before is what it was until then."""
        self.began_ns = int(begin * 1e9)
        for folder in {*sys.path, *sys.path_importer_cache}:
            # Where nothing is found that was not there when the modules of before were.
            if os.path.isabs(folder) and os.path.isdir(folder):
                self.listed.setdefault(folder, (entries_of(folder), False))
        self.busy = False

    def looks_at_part(self, begin: float) -> None:
        """Begins again, at what a few files depend on."""
        self.began_ns = int(begin * 1e9)
        self.opened, self.listed, self.read_by = {}, {}, set()
        self.seclusion.begin_again()
        self.made, self.made_folders, self.unseen = set(), (), None
        self.modules_before = set(sys.modules)
        self.interest = dict(self.events)

    def written(self) -> set[str]:
        """Files and folders that were made so far, other than compiled code."""
        return {*self.made_folders, *(name for name in self.made if f"/{BYTECODE_FOLDER}/" not in name)}

    def stop(self) -> None:
        """Nothing is looked at from here on."""
        self.interest.clear()
        self.seclusion.end()

    def _hook(self, event: str, args: Any) -> None:
        note = self.interest.get(event)
        if note is not None and not self.busy:
            # What the looking itself opens is nobody's dependency.
            self.busy = True
            try:
                note(args)
            finally:
                self.busy = False

    def _open(self, args: Any) -> None:
        path, mode, flags = args
        name = _absolute(path)
        if name is None or self._is_made(name):
            return
        writes = flags & (os.O_WRONLY | os.O_RDWR) if isinstance(flags, int) else _writes(mode)
        if writes:
            if isinstance(flags, int) and flags & os.O_APPEND:
                return
            if isinstance(flags, int) and (
                flags & os.O_WRONLY or flags & (os.O_TRUNC | os.O_EXCL) or not os.path.exists(name)
            ):
                # What it held before is not read.
                if name not in self.opened:
                    self.made.add(name)
                return
        if name not in self.opened:
            self.opened[name] = (state_of(name), time.time_ns())
        if name.endswith(".py"):
            self._note_reader(name)
        elif name.endswith(".pyc"):
            self._note_reader(_source_of(name) or name)

    def _note_reader(self, name: str) -> None:
        """Whether anybody but pytest, and the file itself, reads this source, or code that was made of it."""
        if name in self.read_by or not self.seclusion.is_project(name):
            return
        frame, by_others = sys._getframe(3), False
        while frame is not None:
            file = frame.f_code.co_filename
            if file == name:
                return
            if self.seclusion.is_project(file):
                by_others = True
                break
            module = str(frame.f_globals.get("__name__"))
            if module.startswith(("_pytest.", "rpt_shim.")):
                break
            # A plugin reads it for itself.
            by_others = by_others or not (file.startswith(("<", self.stdlib)) and not _in_site(file, self.stdlib))
            frame = frame.f_back
        if by_others:
            self.read_by.add(name)

    def _open_database(self, args: Any) -> None:
        name = _absolute(args[0])
        if name is not None and os.path.basename(name) != ":memory:" and name not in self.opened:
            self.opened[name] = (state_of(name), time.time_ns())

    def _open_library(self, args: Any) -> None:
        if isinstance(args[0], str) and "/" in args[0]:
            self._open((args[0], None, os.O_RDONLY))

    def _list(self, args: Any) -> None:
        path = args[0]
        if isinstance(path, int):
            # Only a folder that was opened by hand is listed so, mostly to remove it.
            try:
                path = os.readlink(f"/proc/self/fd/{path}")
            except OSError:
                self.unseen = self.unseen or "a folder was listed through a descriptor"
                return
        name = _absolute("." if path is None else path)
        if name is None or self._is_made(name):
            return
        frame: Any = sys._getframe(2)
        while frame.f_globals.get("__name__") in WALKERS and frame.f_back is not None:
            frame = frame.f_back
        every = frame.f_globals.get("__name__") not in FINDERS
        known = self.listed.get(name)
        if known is None:
            self.listed[name] = (entries_of(name), every)
        elif every and not known[1]:
            self.listed[name] = (known[0], True)

    def _make_folder(self, args: Any) -> None:
        path, _, parent = args
        name = _absolute(path) if parent == -1 else None
        if name is None or name in self.listed or os.path.basename(name) == BYTECODE_FOLDER:
            return
        if not os.path.lexists(name):
            self.made_folders = (*self.made_folders, f"{os.path.realpath(name)}/")

    def _bring_in(self, args: Any) -> None:
        """What comes from elsewhere under another name was made by somebody else."""
        source, target = _absolute(args[0]), _absolute(args[1])
        if source is None or target is None or not self._is_made(source):
            into = "/" if target is None else f"{os.path.realpath(target)}/"
            self.made_folders = tuple(
                folder for folder in self.made_folders if target is not None and not into.startswith(folder)
            )

    def _is_made(self, name: str) -> bool:
        if name in self.made:
            return True
        # A link in such a folder leads to what is not in it.
        return bool(self.made_folders) and f"{os.path.realpath(name)}/".startswith(self.made_folders)

    def _connect(self, args: Any) -> None:
        self.unseen = self.unseen or "the collection connects to a server"

    def _start_program(self, args: Any) -> None:
        frame = sys._getframe(2)
        while frame is not None and frame.f_globals.get("__name__") in ("subprocess", "os"):
            frame = frame.f_back
        if frame is None or frame.f_globals.get("__name__") in ASKED_BY_THE_LIBRARY:
            return
        program = args[0] if args and isinstance(args[0], (str, bytes)) else "a process"
        self.unseen = self.unseen or f"the collection starts {wire.text(os.fsdecode(program))}"

    def report(self, session: pytest.Session) -> dict[str, Any]:
        """Everything the collection of `session` depended on. Where that cannot be said,
        why: nothing is kept of such a collection, which is as good as any other."""
        try:
            return self._report(session)
        except Exception as error:
            return {
                "type": "dependencies",
                "files": [],
                "listings": [],
                "prefixes": [],
                "executable": wire.text(os.path.realpath(sys.executable)),
                "hooks": [],
                "unseen": f"what it depended on could not be told ({type(error).__name__}: {wire.text(error)})",
                "hidden_folders": False,
                "read": [],
                "secluded": [],
                "borrowed": True,
                "crosses_files": True,
                "filters": ["", ""],
                "registered_markers": [],
                "arguments": [],
            }

    def _report(self, session: pytest.Session) -> dict[str, Any]:
        config = session.config
        plugins = config.pluginmanager.get_plugins()
        foreign = foreign_hooks(config)
        memory = self._memory(config)
        stdlib = self.stdlib
        finders = _found_by_import(stdlib) if self.modules_before is None else {}
        unstable = self.changed_listing(finders)
        files = self._files(config, stdlib, memory)
        strict = bool(config.getoption("doctestglob", None)) or bool(
            {"pytest_collect_file", "pytest_ignore_collect", "pytest_collect_directory"} & {hook for hook, _ in foreign}
        )
        listings = []
        for name in {**self.listed, **finders}:
            if name.startswith((*NO_FILES, stdlib)) and not _in_site(name, stdlib):
                continue
            entries, every = self.listed.get(name, (None, False))
            if name in finders and not every:
                entries = finders[name]
            every = every or (strict and name in self.listed)
            listings.append([wire.text(name), every, None if entries is None else list(map(wire.text, entries))])
        return {
            "type": "dependencies",
            "files": files,
            "listings": listings,
            "prefixes": [wire.text(prefix) for prefix in installed_prefixes()],
            "executable": wire.text(os.path.realpath(sys.executable)),
            "hooks": [f"{hook} of {plugin}" for hook, plugin in foreign],
            "unseen": self.unseen or unstable or self._uncacheable(config),
            "hidden_folders": ".*" not in config.getini("norecursedirs"),
            "read": sorted(wire.text(name) for name in self.read_by),
            "secluded": sorted(map(wire.text, self.seclusion.files)),
            # Of what is collected again whoever does so makes sure.
            "borrowed": self.modules_before is None
            and any(isinstance(plugin, OnlyFiles) for plugin in plugins)
            and any(map(is_borrowed, session.items)),
            "crosses_files": self.modules_before is None and any(is_shared(item) for item in session.items),
            "filters": [config.option.keyword, config.option.markexpr],
            "registered_markers": _registered_markers(config),
            "arguments": [wire.text(argument) for argument in config.args],
        }

    def _files(self, config: pytest.Config, stdlib: str, memory: set[str]) -> list[list[Any]]:
        files: dict[str, tuple[Any, int]] = {}
        for name, seen in self.opened.items():
            if name.startswith(NO_FILES) or name in memory:
                continue
            if f"/{BYTECODE_FOLDER}/" in name and ".pyc" in name:
                source = _source_of(name)
                if self.modules_before is not None and name.startswith(stdlib) and not _in_site(name, stdlib):
                    # As every module of the standard library that was loaded before.
                    continue
                if source is not None and source not in files:
                    files[source] = self.opened.get(source) or (state_of(source), seen[1])
                continue
            if not (name.startswith(stdlib) and not _in_site(name, stdlib)):
                files.setdefault(name, seen)
        for module_name, module in list(sys.modules.items()):
            name = getattr(module, "__file__", None)
            if self.modules_before is not None and module_name in self.modules_before:
                continue
            if not isinstance(name, str) or not name.startswith("/"):
                continue
            if name in files or (name.startswith(stdlib) and not _in_site(name, stdlib)):
                continue
            if os.path.basename(os.path.dirname(name)) != BYTECODE_FOLDER:
                files[name] = (state_of(name), self.began_ns)
                if files[name][0] is None and not _is_in_archive(name):
                    self.unseen = self.unseen or f"{wire.text(name)} was removed while it was collected"
        for name in _probed(config) if self.modules_before is None else ():
            files.setdefault(name, (state_of(name), self.began_ns))
        for folder in sys.path if self.modules_before is None else ():
            if os.path.isfile(folder):
                files.setdefault(folder, (state_of(folder), self.began_ns))
            for name in entries_of(folder) or ():
                if name.endswith(".pth"):
                    path = os.path.join(folder, name)
                    files.setdefault(path, (state_of(path), self.began_ns))
        return [
            [wire.text(name), list(state) if state else None, seen]
            for name, (state, seen) in files.items()
            if name not in self.made and not _is_folder(state)
        ]

    def changed_listing(self, finders: dict[str, list[str] | None]) -> str | None:
        """A folder whose entries are not those that were seen, if there is one."""
        for name, (entries, every) in self.listed.items():
            now = finders[name] if name in finders else entries_of(name)
            old, new = set(entries or ()), set(now or ())
            if (every and old != new) or any(not _is_passing(name, entry) for entry in old ^ new):
                return f"{wire.text(name)} changed while it was collected"
        for name, now in finders.items():
            # Filled before this began to watch.
            importer = sys.path_importer_cache.get(name)
            seen = getattr(importer, "_path_cache", None)
            if name in self.listed or not seen or getattr(importer, "_path_mtime", -1) == -1:
                continue
            if any(entry.rstrip("/") not in seen and not _is_passing(name, entry) for entry in now or ()):
                return f"{wire.text(name)} changed while it was collected"
        return None

    def _memory(self, config: pytest.Config) -> set[str]:
        cache = getattr(config, "cache", None)
        folder = getattr(cache, "_cachedir", None)
        return {os.path.join(folder, "v", "cache", name) for name in MEMORY} if folder else set()

    def _uncacheable(self, config: pytest.Config) -> str | None:
        for option in MEMORY_OPTIONS:
            if getattr(config.option, option, None):
                return "what is collected depends on the last run (--lf, --ff, --nf, --sw)"
        return None


class OnlyFiles:
    """A plugin that collects a few files of a suite, everything else being as in a
    collection of all: the same arguments, folders, packages and conftests."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = frozenset(paths)

    @pytest.hookimpl(tryfirst=True)
    def pytest_ignore_collect(self, collection_path: Any) -> bool | None:
        if str(collection_path) in self.paths or collection_path.name == "__init__.py":
            return None
        return None if collection_path.is_dir() else True


def _absolute(path: Any) -> str | None:
    if isinstance(path, int) or path is None:
        return None
    try:
        name = os.fsdecode(os.fspath(path))
    except TypeError:
        return None
    if not name.startswith("/"):
        name = os.path.abspath(name)
    return os.path.normpath(name) if "/." in name or "//" in name else name


def _writes(mode: Any) -> bool:
    return isinstance(mode, str) and any(letter in mode for letter in "wax+")


def state_of(path: str) -> Any:
    """Time, size, number and time of the last change of its entry, if it exists."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns, found.st_mode)


def _is_folder(state: Any) -> bool:
    return state is not None and state[4] & 0o170000 == 0o040000


def entries_of(path: str) -> list[str] | None:
    """Names, folders with a slash at the end, in order; None: it cannot be listed."""
    try:
        with os.scandir(path) as found:
            return sorted(entry.name + "/" if _leads_to_folder(entry) else entry.name for entry in found)
    except (OSError, ValueError):
        return None


def _leads_to_folder(entry: Any) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_passing(folder: str, entry: str) -> bool:
    """Folders that tools make and that hold nothing to collect."""
    if entry.startswith(CACHE_IN_MAKING) and entry.endswith("/"):
        return CACHE_FILES.issuperset(entries_of(os.path.join(folder, entry)) or ())
    return entry in (f"{BYTECODE_FOLDER}/", ".rpt/", ".pytest_cache/") or not entry.endswith(
        ("/", ".py", ".pyc", ".so", ".pth")
    )


def _source_of(bytecode: str) -> str | None:
    folder, name = os.path.split(bytecode)
    at = name.find(f".{sys.implementation.cache_tag}")
    return os.path.join(os.path.dirname(folder), name[:at] + ".py") if at > 0 else None


def _is_in_archive(name: str) -> bool:
    return any(os.path.isfile(folder) and name.startswith(folder + os.sep) for folder in sys.path)


def _in_site(name: str, stdlib: str) -> bool:
    return name.startswith((stdlib + "site-packages", stdlib + "dist-packages"))


def _found_by_import(stdlib: str) -> dict[str, list[str] | None]:
    """The folders in which imports were looked for, each with its entries."""
    found = {}
    for name in [*sys.path_importer_cache, *sys.path]:
        if not isinstance(name, str) or not name.startswith("/") or os.path.isfile(name):
            continue
        if not (name + os.sep).startswith(stdlib) or _in_site(name, stdlib):
            found[name] = entries_of(name)
    return found


def installed_prefixes() -> list[str]:
    """Where the standard library and what is installed lie."""
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.update(site.getsitepackages() if hasattr(site, "getsitepackages") else ())
    folders.add(site.getusersitepackages() if hasattr(site, "getusersitepackages") else "")
    folders.discard("")
    return sorted(folders | {os.path.realpath(folder) for folder in folders})


def _probed(config: pytest.Config) -> list[str]:
    folders: dict[str, None] = {}
    starts = [str(config.invocation_params.dir), str(config.rootpath)]
    starts += [os.path.abspath(argument.split("::", 1)[0]) for argument in config.args]
    for start in starts:
        folder = start
        while folder not in folders:
            folders[folder] = None
            folder = os.path.dirname(folder)
    probed = [os.path.join(folder, name) for folder in folders for name in PROBED]
    return [*probed, os.path.join(sys.prefix, "pyvenv.cfg")]


def foreign_hooks(config: pytest.Config) -> list[tuple[str, str]]:
    """Hooks of collection that are not pytest's own: name and plugin."""
    found = []
    hooks = config.pluginmanager.hook
    for name in COLLECTION_HOOKS:
        for implementation in getattr(hooks, name).get_hookimpls() if hasattr(hooks, name) else ():
            plugin = implementation.plugin
            module = getattr(plugin, "__name__", None) or type(plugin).__module__
            if not module.startswith(("_pytest.", "rpt_shim.")):
                found.append((name, wire.text(implementation.plugin_name)))
    return found


def _registered_markers(config: pytest.Config) -> list[str] | None:
    """The names that `-m` may use, where pytest checks that."""
    from _pytest import mark

    if not hasattr(mark, "_validate_marker_names"):
        return None
    strict = config.getini("strict_markers")
    if strict is None:
        strict = config.getini("strict")
    return sorted(marker.name for marker in config._iter_registered_markers()) if strict else None


def is_shared(item: pytest.Item) -> bool:
    """Whether pytest orders it among tests of other files, for a parameter's sake."""
    callspec = getattr(item, "callspec", None)
    scopes = getattr(callspec, "_arg2scope", None) or {}
    return any(scope.value in ("session", "package") for scope in scopes.values())


def is_borrowed(item: pytest.Item) -> bool:
    """Whether a test comes of what its file only imports, or its parameters of what a function of another
    file says: other files may have had a say there."""
    module = item.getparent(pytest.Module)
    if module is None:
        return True
    own = getattr(module.obj, "__name__", None)
    made_of = (getattr(item, "function", None), getattr(item, "cls", None))
    if hasattr(module.obj, "pytest_generate_tests"):
        return True
    if any(getattr(thing, "__module__", own) != own for thing in made_of if thing is not None):
        return True
    known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    return any(callable(one.ids) for definitions in known.values() for one in definitions)
