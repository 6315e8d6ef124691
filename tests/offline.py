"""python tests/offline.py RECORD COMMAND...: runs a command in a network namespace of its own and notes whom it tried to reach.

In that namespace every address of the world leads to the loopback device, where a packet socket sees all packets: name look-ups
(of any resolver), connections and datagrams to whatever address, IPv4 and IPv6. What is not loopback, and every look-up, is
written to RECORD, one line each. The exit code is the command's.
"""

import contextlib
import ipaddress
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

_ALL_PROTOCOLS = 0x0003  # ETH_P_ALL, linux/if_ether.h
_ETHERNET, _IPV4, _IPV6 = 14, 0x0800, 0x86DD
_TCP, _UDP = 6, 17
_NAMES = {_TCP: "TCP", _UDP: "UDP"}
_SYN, _SYN_ACK = 0x02, 0x12  # flags of the first packet of a connection, and of the answer to it
_DOMAIN = 53
_QUIET_SECONDS = 0.5
_SETUP = (
    ("ip", "link", "set", "lo", "up"),
    ("ip", "route", "add", "local", "default", "dev", "lo"),
    ("ip", "-6", "route", "add", "local", "default", "dev", "lo"),
)
_FILES = {"/etc/resolv.conf": "nameserver 192.0.2.53\n", "/etc/nsswitch.conf": "hosts: files dns\n"}
"""No systemd-resolved and no nscd, which are reached through the file system. 192.0.2.0/24 is nobody's (RFC 5737)."""


def unshared() -> list[str]:
    """What runs a command in namespaces of its own. Raises OSError that says why where this machine allows none."""
    missing = [program for program in ("unshare", "ip", "mount") if not shutil.which(program)]
    if missing:
        raise OSError(f"not installed: {', '.join(missing)}")
    failures = []
    for way in (["unshare", "--net", "--mount"], ["unshare", "--map-root-user", "--net", "--mount"]):
        tried = subprocess.run(
            [*way, sys.executable, __file__, "/dev/null", "true"], capture_output=True, text=True, check=False
        )
        if tried.returncode == 0:
            return way
        failures.append(tried.stderr.strip().rpartition("\n")[2])
    raise OSError("; ".join(failures))


def main(record: str, *command: str) -> int:
    """Runs `command`; gives its exit code."""
    for words in _SETUP:
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: {done.stderr.strip()}")
    with tempfile.TemporaryDirectory() as folder:
        for place, content in _FILES.items():
            own = Path(folder) / Path(place).name
            own.write_text(content)
            if Path(place).exists():
                subprocess.run(["mount", "--bind", str(own), place], check=True)
        seen: dict[str, None] = {}
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
        listener.bind(("lo", 0))
        listener.settimeout(_QUIET_SECONDS)
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(listener, seen, ended))
        watcher.start()
        code = subprocess.run(command).returncode
        ended.set()
        watcher.join()
    Path(record).write_text("".join(f"{line}\n" for line in seen))
    return code


def _watch(listener: socket.socket, seen: dict[str, None], ended: threading.Event) -> None:
    """Adds a line for every packet that has no business here, until all is quiet after the end."""
    while True:
        try:
            packet = listener.recv(65_536)
        except TimeoutError:
            if ended.is_set():
                return
            continue
        if line := _described(packet):
            seen.setdefault(line)


def _described(packet: bytes) -> str:
    """Where a packet goes, '' for what stays on the loopback device and asks for no name."""
    (kind,) = struct.unpack("!H", packet[12:_ETHERNET])
    body = packet[_ETHERNET:]
    if kind == _IPV4:
        header, protocol, target = (body[0] & 15) * 4, body[9], ipaddress.ip_address(body[16:20])
    elif kind == _IPV6:
        header, protocol, target = 40, body[6], ipaddress.ip_address(body[24:40])
    else:
        return ""
    payload = body[header:]
    if protocol not in _NAMES or (protocol == _TCP and payload[13] & _SYN_ACK != _SYN):
        return ""  # the kernel's own words, and what follows the first packet of a connection
    (port,) = struct.unpack("!H", payload[2:4])
    if target.is_loopback and port != _DOMAIN:
        return ""
    asked = f", asks for {_question(payload[8:])}" if port == _DOMAIN and protocol == _UDP else ""
    return f"{_NAMES[protocol]} to {target} port {port}{asked}"


def _question(message: bytes) -> str:
    """The name that a DNS message asks for."""
    labels, place = [], 12
    with contextlib.suppress(IndexError):
        while length := message[place]:
            labels.append(message[place + 1 : place + 1 + length].decode("ascii", "replace"))
            place += 1 + length
    return ".".join(labels)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
