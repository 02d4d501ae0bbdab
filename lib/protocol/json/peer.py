#!/usr/bin/env python3
"""peer: the protocol once more, in another language, written from its specification alone. It knows no ids, no hello, no auth.

python3 peer.py server PORT [HOST]   listens (port 0: any free one) and prints {"listening": PORT}
python3 peer.py client PORT [HOST]   sends a request of each type and prints each answer as one line of JSON
"""
import json
import socket
import struct
import sys
import threading
import time

MAX_FRAME_BYTES = 1 << 20


def now():
    seconds = time.time()
    milliseconds = int(seconds * 1000) % 1000
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + ".%03dZ" % milliseconds


def send(connection, message):
    payload = json.dumps(message).encode("utf-8")
    connection.sendall(struct.pack(">I", len(payload)) + payload)


def receive_exactly(connection, count):
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            return None
        data += chunk
    return data


def receive(connection):
    header = receive_exactly(connection, 4)
    if header is None:
        return None
    (length,) = struct.unpack(">I", header)
    if length > MAX_FRAME_BYTES:
        raise ValueError("frame of %d bytes" % length)
    payload = receive_exactly(connection, length)
    return None if payload is None else json.loads(payload.decode("utf-8"))


class Server:
    def __init__(self, host, port):
        self.listener = socket.create_server((host, port))
        self.started = time.time()
        self.started_text = now()
        self.messages = 0
        self.clients = {}
        # One lock for the table of clients and for every write: a broadcast must not cut into an answer.
        self.lock = threading.Lock()

    def run(self):
        print(json.dumps({"listening": self.listener.getsockname()[1]}), flush=True)
        while True:
            connection, address = self.listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            name = "%s:%d" % address[:2]
            threading.Thread(target=self.serve, args=(connection, name), daemon=True).start()

    def serve(self, connection, name):
        with self.lock:
            self.clients[name] = connection
        try:
            while True:
                message = receive(connection)
                if message is None:
                    break
                answer = self.answer(message, name)
                with self.lock:
                    send(connection, answer)
        except (OSError, ValueError):
            pass
        finally:
            with self.lock:
                del self.clients[name]
            connection.close()

    def answer(self, message, name):
        self.messages += 1
        kind = message.get("type")
        if kind == "ping":
            return {"type": "pong", "ping_timestamp": message.get("timestamp"),
                    "pong_timestamp": now(), "client_id": name}
        if kind == "echo":
            return {"type": "echo_response", "content": message["content"],
                    "timestamp": now(), "echoed_by": "Python peer"}
        if kind == "broadcast":
            return {"type": "broadcast_sent", "recipients": self.broadcast(message, name),
                    "timestamp": now()}
        if kind == "get_stats":
            return {"type": "server_stats", "connected_clients": len(self.clients),
                    "uptime_seconds": int(time.time() - self.started),
                    "total_messages": self.messages,
                    "server_start_time": self.started_text, "current_time": now()}
        return {"type": "error", "message": "unknown type: %s" % kind}

    def broadcast(self, message, sender):
        delivery = {"type": "broadcast_message", "content": message["content"],
                    "from": sender, "timestamp": now()}
        with self.lock:
            others = [client for name, client in self.clients.items() if name != sender]
            for client in others:
                send(client, delivery)
        return len(others)


REQUESTS = [
    {"type": "ping", "timestamp": "2024-01-01T12:00:00.000Z", "client_info": "Python peer"},
    {"type": "echo", "content": "Grüße from Python \U0001F40D", "timestamp": "2024-01-01T12:00:00.000Z"},
    {"type": "broadcast", "content": "to all", "timestamp": "2024-01-01T12:00:00.000Z"},
    {"type": "get_stats", "timestamp": "2024-01-01T12:00:00.000Z"},
    {"type": "custom_type", "data": {"data": "value"}},
    {"type": "echo", "content": "x" * 100000},
]


def client(host, port):
    with socket.create_connection((host, port), timeout=10) as connection:
        for request in REQUESTS:
            send(connection, request)
            print(json.dumps(receive(connection)), flush=True)


if __name__ == "__main__":
    mode, port = sys.argv[1], int(sys.argv[2])
    host = sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1"
    if mode == "server":
        Server(host, port).run()
    else:
        client(host, port)
