"""A websocket client: says hello through TLS with a name of its own, and prints what comes back."""
import sys

import websocket

port, authority = sys.argv[1:]
there = websocket.create_connection(
    f"wss://127.0.0.1:{port}/ws",
    host="one.test",
    sslopt={"ca_certs": authority, "server_hostname": "one.test"},
    timeout=10,
)
there.send("hello")
print(there.recv())
there.close()
