"""Where benchmarks deliver to, each in a process of its own: an SMTP server and a SendGrid that take everything.

``python -m bench.sinks smtp|sendgrid`` listens on a port of the loopback interface, prints it, and works until killed.
"""

import asyncio
import re
import shutil
import subprocess
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.servers.unused import unused_port


@contextmanager
def smtp_sink() -> Iterator[tuple[str, int]]:
    """Name and port: Postfix's smtp-sink where it is installed, else our own."""
    program = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin") or shutil.which("smtp-sink")
    if program is None:
        with _own("smtp") as port:
            yield "bench.sinks", port
        return
    port = unused_port()
    process = subprocess.Popen([program, "-u", "nobody", f"127.0.0.1:{port}", "200"], stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        yield "smtp-sink", port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def sendgrid_sink() -> Iterator[str]:
    """The address of a service that says 202 to every request."""
    with _own("sendgrid") as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _own(kind: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-m", "bench.sinks", kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def _smtp(reader: StreamReader, writer: StreamWriter) -> None:
    """Enough of RFC 5321 and 2920 for a client that makes no mistakes."""
    writer.write(b"220 sink\r\n")
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            verb = (await reader.readuntil(b"\r\n"))[:4].upper()
            if verb == b"EHLO":
                writer.write(b"250-sink\r\n250-PIPELINING\r\n250-SIZE\r\n250 8BITMIME\r\n")
            elif verb == b"DATA":
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"250 2.0.0 Ok\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 2.0.0 Ok\r\n")
    writer.close()


async def _sendgrid(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            left = int(found[1]) if found else 0
            while left and (read := await reader.read(left)):  # nothing is kept: the sender is measured, not the sink
                left -= len(read)
            writer.write(b"HTTP/1.1 202 Accepted\r\nX-Message-Id: sink\r\nContent-Length: 0\r\n\r\n")
    writer.close()


async def _serve(kind: str) -> None:
    handler = {"smtp": _smtp, "sendgrid": _sendgrid}[kind]
    server = await asyncio.start_server(handler, "127.0.0.1", 0, limit=64 * 1024 * 1024, backlog=500)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
