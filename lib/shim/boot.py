# Runs as `python -c`: receives the shim's modules over the control socket and
# enters them. Kept to syntax that any Python 3 can read, so that an interpreter
# that is too old is told so instead of failing with a syntax error.
import os
import sys

# As the `pytest` command has it: its own folder first, not the current one, whatever lies there.
if sys.path and sys.path[0] == "":
    sys.path[0] = os.path.dirname(sys.executable)


def _compiled(modules, folder):
    """The modules' code: what an earlier process of this user and interpreter kept in `folder`,
    which saves more time than all else of a start, or compiled now."""
    import hashlib
    import marshal

    def digest(*parts):
        return hashlib.sha256("\0".join(parts).encode("utf-8")).hexdigest()

    if folder is None:
        return _compile(modules)
    key = digest(sys.version, str(sys.flags.optimize), *(part for module in modules for part in module))
    path = os.path.join(folder, "shim-" + key[:32])
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            kept = file.read()
        # What others may have written is never run.
        is_own = status.st_uid == os.geteuid() and not status.st_mode & 0o022
        if is_own and hashlib.sha256(key.encode("ascii") + kept[32:]).digest() == kept[:32]:
            return marshal.loads(kept[32:])
    except (OSError, EOFError, ValueError, TypeError):
        pass
    codes = _compile(modules)
    content = marshal.dumps(codes)
    unfinished = "%s.%d.new" % (path, os.getpid())
    # Keeping is a saving, never a need.
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(hashlib.sha256(key.encode("ascii") + content).digest() + content)
        os.replace(unfinished, path)
        _prune(folder)
    except OSError:
        try:
            os.unlink(unfinished)
        except OSError:
            pass
    return codes


def _compile(modules):
    return [compile(source, "<rpt>/%s.py" % name, "exec") for name, source in modules]


def _prune(folder):
    """Only so many are kept, those written last: of interpreters and versions of rpt."""
    kept = [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("shim-")]
    kept.sort(key=os.path.getmtime)
    for path in kept[:-16]:
        os.unlink(path)


def _boot():
    import json
    import socket
    import types

    # A view on the same socket: the shim opens its own.
    control = socket.socket(fileno=int(sys.argv[1]))
    # What a conftest starts must not hold the connection open.
    control.set_inheritable(False)

    def exactly(count):
        parts = []
        while count:
            part = control.recv(count)
            if not part:
                sys.exit(3)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    boot = json.loads(exactly(int.from_bytes(exactly(4), "little")).decode("utf-8"))

    def fail(message):
        text = json.dumps({"type": "unusable", "message": message}).encode("utf-8")
        control.sendall(len(text).to_bytes(4, "little") + text)
        sys.exit(4)

    if sys.version_info < (3, 9):
        fail("Python %d.%d is too old: rpt needs 3.9 or later" % sys.version_info[:2])
    package = types.ModuleType("rpt_shim")
    package.__path__ = []
    sys.modules["rpt_shim"] = package
    for (name, _), code in zip(boot["modules"], _compiled(boot["modules"], boot["kept"])):
        module = types.ModuleType("rpt_shim." + name)
        sys.modules["rpt_shim." + name] = module
        setattr(package, name, module)
        exec(code, module.__dict__)
        if name == "keeper" and not boot["settings"]["terminal"] and boot["settings"]["base"] is None:
            module.keep(boot["settings"]["identity"] is not None)
        if name == "interpreter":
            # The modules after it import pytest.
            module.prepare(boot["settings"]["args"], fail)
    sys.exit(package.main.main(control, boot["settings"]))


_boot()
