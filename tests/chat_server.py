"""A loopback server that speaks as much of the OpenAI protocol as the labeller uses, and fails when told to."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Chat:
    """What the server is to answer, and what it was asked. `script(n, body)` gives status, body text and headers."""

    def __init__(self, script):
        self.script, self.asked, self.headers, self.at_once, self.most_at_once = script, [], [], 0, 0
        self.lock = threading.Lock()
        self.url = ""

    def reply(self, body, headers):
        with self.lock:
            number = len(self.asked)
            self.asked.append(body)
            self.headers.append(headers)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self.script(number, body)
        finally:
            with self.lock:
                self.at_once -= 1


def said(content, tokens_in=100, tokens_out=10, **headers):
    """A good reply."""
    usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}
    value = {"choices": [{"message": {"role": "assistant", "content": content}}], "usage": usage}
    return 200, json.dumps(value), headers


def failed(status, **headers):
    return status, json.dumps({"error": {"message": "no"}}), {name.replace("_", "-"): v for name, v in headers.items()}


@contextmanager
def chat_server(script):
    chat = Chat(script)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            reply = chat.reply(body, dict(self.headers)) if self.path == "/v1/chat/completions" else failed(404)
            if reply is None:  # hang up without a word
                return
            status, text, headers = reply
            try:
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, str(value))
                self.send_header("content-length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())
            except OSError:
                pass  # the other side did not wait

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    chat.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield chat
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def slowly(seconds, reply):
    time.sleep(seconds)
    return reply
