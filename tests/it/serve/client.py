"""A client of the daemon's protocol that shares no code with the daemon: it reads requests
as JSON Lines, sends each in the form it was started with, and writes the answers as JSON
Lines, or null where the connection ended.

usage: client.py socket PATH FORM | client.py stdio PROGRAM FORM
FORM: named and positional are msgpack, json is JSON
"""

import json
import socket
import struct
import subprocess
import sys

import msgpack

#: The fields of each type in the order of the protocol's table.
POSITIONS = {
    "init_context": ["protocol_version", "repo_path", "python_path", "execution_mode"],
    "collect": ["context_id", "force"],
    "run": ["context_id", "node_ids", "workers", "maxfail"],
    "list": ["context_id", "keyword", "marker"],
    "get_inventory": ["context_id"],
    "get_worker_status": ["context_id"],
    "configure_workers": ["context_id", "num_workers"],
    "shutdown": ["context_id"],
    "ping": [],
    "run_stream": ["context_id", "node_ids", "workers", "maxfail"],
    "get_run_progress": ["context_id", "run_id", "since"],
    "get_flakiness_report": ["context_id"],
    "get_test_flakiness": ["context_id", "node_id"],
    "configure_rerun": ["context_id", "enabled", "max_reruns", "only_flaky", "delay_ms"],
    "get_rerun_config": ["context_id"],
    "run_with_rerun": ["context_id", "node_ids", "workers", "maxfail"],
    "configure_fixture_reuse": ["context_id", "enabled", "max_age_seconds", "teardown_on_conftest_change"],
    "get_fixture_config": ["context_id"],
    "get_session_status": ["context_id"],
    "get_shard": ["context_id", "node_ids", "shard_index", "total_shards", "strategy"],
    "get_shard_info": ["context_id", "node_ids", "total_shards", "strategy"],
}


def pack(message, form):
    if form == "json":
        return json.dumps(message).encode()
    if form == "positional" and message["type"] in POSITIONS:
        fields = POSITIONS[message["type"]]
        return msgpack.packb([message["type"], *(message.get(field) for field in fields)])
    return msgpack.packb(message)


class Socket:
    def __init__(self, path, form):
        self.form = form
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)

    def ask(self, message):
        body = pack(message, self.form)
        try:
            self.socket.sendall(struct.pack("<I", len(body)) + body)
        except ConnectionError:
            return None
        header = self.exactly(4)
        if header is None:
            return None
        answer = self.exactly(struct.unpack("<I", header)[0])
        return json.loads(answer) if self.form == "json" else msgpack.unpackb(answer)

    def exactly(self, count):
        parts = []
        while count:
            try:
                part = self.socket.recv(count)
            except ConnectionError:
                return None
            if not part:
                return None
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def end(self):
        self.socket.close()


class Stdio:
    def __init__(self, program, form):
        self.form = form
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.unpacker = msgpack.Unpacker()

    def ask(self, message):
        body = pack(message, self.form)
        self.process.stdin.write(body + (b"\n" if self.form == "json" else b""))
        self.process.stdin.flush()
        if self.form == "json":
            line = self.process.stdout.readline()
            return json.loads(line) if line else None
        while True:
            for answer in self.unpacker:
                return answer
            part = self.process.stdout.read1()
            if not part:
                return None
            self.unpacker.feed(part)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    transport, place, form = sys.argv[1:]
    connection = {"socket": Socket, "stdio": Stdio}[transport](place, form)
    for line in sys.stdin:
        print(json.dumps(connection.ask(json.loads(line))), flush=True)
    connection.end()


if __name__ == "__main__":
    main()
