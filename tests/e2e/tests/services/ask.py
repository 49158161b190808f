"""Asks an echo service over both protocols: ask.py HOST."""
import socket
import sys

address = (sys.argv[1], 7)
with socket.create_connection(address, 5) as peer:
    peer.sendall(b"one")
    print(peer.recv(100).decode())
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
    peer.settimeout(5)
    peer.sendto(b"two", address)
    print(peer.recv(100).decode())
