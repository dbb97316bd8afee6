"""Registers znodes with kazoo, as standard input says: put PATH DATA creates an ephemeral znode, and
sequence PATH DATA one whose name ZooKeeper completes; keep PATH DATA creates a persistent one; delete
PATH deletes with all below. Each line is answered by a line: "ok" and the path, or what went wrong."""

import sys

from kazoo.client import KazooClient

client = KazooClient(hosts=sys.argv[1], timeout=60.0)
client.start()
print("ok", flush=True)
for line in sys.stdin:
    command, path, *data = line.rstrip("\n").split(" ", 2)
    value = data[0].encode() if data else b""
    try:
        if command == "delete":
            client.delete(path, recursive=True)
        else:
            path = client.create(path, value, ephemeral=command != "keep", sequence=command == "sequence", makepath=True)
        print("ok", path, flush=True)
    except Exception as problem:  # the test says which
        print(repr(problem), flush=True)
client.stop()
