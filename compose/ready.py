"""A container's health check: 0 when an address answers 200. Few imports, since it runs every few seconds.

Addresses are ``http://host:port/path`` and ``unix:///path/of/a/socket:/path``.
"""

import socket
import sys

scheme, _, address = sys.argv[1].partition("://")
host, _, path = address.rpartition(":/") if scheme == "unix" else address.partition("/")
try:
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(2.5)
        connection.connect(host)
    else:
        name, _, port = host.rpartition(":")
        connection = socket.create_connection((name, int(port)), timeout=2.5)
    with connection:
        connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
except OSError as error:
    sys.exit(f"{host} does not answer: {error}")
status, _, body = answer.partition(b"\r\n\r\n")
print(body[:400].decode(errors="replace").strip())  # kept by the engine: `docker inspect` shows the last five
sys.exit(0 if b" 200 " in status.partition(b"\r\n")[0] + b" " else 1)
