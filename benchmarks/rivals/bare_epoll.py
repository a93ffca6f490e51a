"""The least a Python server can do: wait, read, answer with ready bytes. Nothing is looked at."""

import socket
import sys
from pathlib import Path
from select import EPOLLIN, epoll

path, answer_file = sys.argv[1:]
answer = Path(answer_file).read_bytes()
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(4096)
waiting = epoll()
waiting.register(listener, EPOLLIN)
clients: dict[int, socket.socket] = {}
while True:
    for fd, _ in waiting.poll():
        if fd == listener.fileno():
            client, _ = listener.accept()
            clients[client.fileno()] = client
            waiting.register(client, EPOLLIN)
        elif clients[fd].recv(65536):
            clients[fd].send(answer)
        else:
            clients.pop(fd).close()
