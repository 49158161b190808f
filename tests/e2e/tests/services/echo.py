"""Echoes on port 7, UDP and TCP, with the protocol's name before it."""
import socket
import threading


def tcp():
    with socket.create_server(("", 7)) as server:
        while True:
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"tcp " + peer.recv(100))


threading.Thread(target=tcp, daemon=True).start()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("", 7))
    while True:
        data, peer = server.recvfrom(100)
        server.sendto(b"udp " + data, peer)
