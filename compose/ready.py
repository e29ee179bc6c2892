"""A container's health check: 0 when an address answers 200. Few imports, since it runs every few seconds."""

import socket
import sys

host, _, path = sys.argv[1].removeprefix("http://").partition("/")
name, _, port = host.rpartition(":")
try:
    with socket.create_connection((name, int(port)), timeout=2.5) as connection:
        connection.sendall(f"GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
except OSError as error:
    sys.exit(f"{host} does not answer: {error}")
status, _, body = answer.partition(b"\r\n\r\n")
print(body[:400].decode(errors="replace").strip())  # kept by the engine: `docker inspect` shows the last five
sys.exit(0 if b" 200 " in status.partition(b"\r\n")[0] + b" " else 1)
