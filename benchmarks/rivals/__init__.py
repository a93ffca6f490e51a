"""The same service in other ways. Each: `SOCKET ANSWER-FILE`, and requests are MessagePack-RPC."""
