"""A web server on this machine that serves files well, or as badly as it is told to."""

import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class File:
    content: bytes
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True


Step = Callable[["Handler", File], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "FileServer"

    def do_GET(self) -> None:
        name = self.path.partition("?")[0]
        self.server.asked.append((name, dict(self.headers)))
        steps = self.server.script.get(name, [])
        step = (steps.pop(0) if len(steps) > 1 or not self.server.for_ever else steps[0]) if steps else serve()
        try:
            step(self, self.server.files.get(name, File(b"")))
        except OSError:  # the other side has had enough
            self.close_connection = True

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass

    def reply(self, status: int, body: bytes = b"", **headers: str | None) -> None:
        """Status, headers and a body, of which the Content-Length may say something else."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def part(self, file: File) -> tuple[int, bytes, dict[str, str | None]]:
        """What a good server would answer: status, body and headers."""
        facts: dict[str, str | None] = {"ETag": file.etag, "Last_Modified": file.modified}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if not asked or not file.ranges or (condition and condition not in (file.etag, file.modified)):
            return 200, file.content, facts
        start, size = int(asked[1]), len(file.content)
        if start >= size:
            return 416, b"", {"Content_Range": f"bytes */{size}"}
        return 206, file.content[start:], {**facts, "Content_Range": f"bytes {start}-{size - 1}/{size}"}


class FileServer(ThreadingHTTPServer):
    """`files` by path; `script` maps a path to its steps, one a request, then it serves; `for_ever` keeps the last."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, File] = {}
        self.script: dict[str, list[Step]] = {}
        self.for_ever = False
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()
        self.base = f"http://127.0.0.1:{self.server_port}"

    def put(self, path: str, content: bytes, *steps: Step, **facts) -> str:
        """Have a file, and its address."""
        self.files[path], self.script[path] = File(content, **facts), list(steps)
        return self.base + path


def serve() -> Step:
    def step(handler: Handler, file: File) -> None:
        status, body, headers = handler.part(file)
        handler.reply(status, body, **headers)

    return step


def status(code: int, **headers: str) -> Step:
    return lambda handler, file: handler.reply(code, b"<html>no</html>", **headers)


def redirect(to: str) -> Step:
    return lambda handler, file: handler.reply(302, b"elsewhere", Location=to)


def cut(after: int, then: Callable[[FileServer], object] = lambda server: None) -> Step:
    """Promise all that is left, send a part of it and hang up; then change something."""

    def step(handler: Handler, file: File) -> None:
        code, body, headers = handler.part(file)
        handler.reply(code, body[:after], **headers | {"Content_Length": str(len(body))})
        then(handler.server)
        handler.close_connection = True

    return step


def stall(after: int) -> Step:
    """Send a part and then nothing, until the server closes."""

    def step(handler: Handler, file: File) -> None:
        cut(after)(handler, file)
        handler.wfile.flush()
        handler.server.closing.wait(60)

    return step


def drip(head: bool) -> Step:
    """A byte at a time for ever: of a header that never ends, or of the body."""

    def step(handler: Handler, file: File) -> None:
        handler.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begin = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n"
        handler.wfile.write(begin + (b"X-Long: " if head else b"\r\n"))
        handler.close_connection = True
        while not handler.server.closing.wait(0.01):
            handler.wfile.write(b"x")

    return step


def chunked(keep: int | None = None) -> Step:
    """No length but chunks; cut before their end if only a part is kept."""

    def step(handler: Handler, file: File) -> None:
        handler.reply(200, b"", Content_Length=None, Transfer_Encoding="chunked", ETag=file.etag)
        kept = file.content[:keep]
        for start in range(0, len(kept), 50_000):
            piece = kept[start : start + 50_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if keep is None:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True

    return step
