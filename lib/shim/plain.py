# Runs as `python -c`: plain pytest with the arguments given, and writes what it reports of
# each test to a file, one JSON array a line: the id, which of the tests of this id it is
# (from 1), and rpt's PhaseReport.
import os
import sys

# As the `pytest` command has it, not the current folder.
if sys.path and sys.path[0] == "":
    sys.path[0] = os.path.dirname(sys.executable)

import json

import pytest


class Judge:
    def __init__(self, path):
        self.path = path
        self.begun = {}

    def pytest_runtest_logstart(self, nodeid):
        self.begun[nodeid] = self.begun.get(nodeid, 0) + 1

    def pytest_runtest_logreport(self, report):
        phases = ("setup", "call", "teardown")
        describe = getattr(report, "_sub_test_description", None) or getattr(report, "sub_test_description", None)
        said = {
            "when": report.when if report.when in phases else "call",
            "outcome": report.outcome,
            "duration": report.duration,
        }
        if hasattr(report, "wasxfail"):
            said["wasxfail"] = str(report.wasxfail)
        if callable(describe) or report.when not in phases:
            said["subtest"] = ""
        # As the shim writes ids: lone surrogates become escapes.
        node_id = str(report.nodeid).encode("utf-8", "backslashreplace").decode("utf-8")
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps([node_id, self.begun.get(report.nodeid, 1), said]) + "\n")


sys.exit(int(pytest.main(sys.argv[2:], plugins=[Judge(sys.argv[1])])))
