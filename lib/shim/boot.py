# Runs as `python -c`: receives the shim's modules over the control socket and
# enters them. Kept to syntax that any Python 3 can read, so that an interpreter
# that is too old is told so instead of failing with a syntax error.
import sys


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
    for name, source in boot["modules"]:
        module = types.ModuleType("rpt_shim." + name)
        sys.modules["rpt_shim." + name] = module
        setattr(package, name, module)
        exec(compile(source, "<rpt>/%s.py" % name, "exec"), module.__dict__)
        if name == "keeper" and not boot["settings"]["terminal"]:
            module.keep(boot["settings"]["identity"] is not None)
        if name == "interpreter":
            # The modules after it import pytest.
            module.prepare(boot["settings"]["args"], fail)
    sys.exit(package.main.main(control, boot["settings"]))


_boot()
