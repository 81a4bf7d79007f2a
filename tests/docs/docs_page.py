"""A page of commands for a box in the field, run on a box made of a folder.

The commands stand on the page as root types them there. Paths lead into the folder instead; ``systemctl start`` and
``stop`` start and stop the gateway's own process, and wait until it answers, as they do on a box.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from support.mosquitto import free_port

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = ROOT / "docs" / "operations"
FIELD = ("/mnt/backup", "/etc/securenet", "/etc/credstore", "/var/lib", "/var/log", "/root")
_UNIT = """
systemctl() {
    case "$1" in
        start) securenet run --config "$SECURENET_CONFIG" 2>> "$LOG" & echo $! > "$PIDFILE"
            for _ in $(seq 60); do securenet status --json > /dev/null 2>&1 && return; sleep 0.3; done; return 1 ;;
        stop) kill "$(cat "$PIDFILE")" && wait "$(cat "$PIDFILE")" ;;
        restart) systemctl stop && systemctl start ;;
        disable) true ;;
        *) echo "systemctl $1 is not played here" >&2; return 1 ;;
    esac
}
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
"""
_BOX = """
securenet key create log --config "$SECURENET_CONFIG"
securenet key show log --json > key.json
python3 -c 'import json; print(json.load(open("key.json"))["verifier_key"])' > log-key.pub
securenet-fleet keys --devices 5 --fleet plant-7 --gateway-id gw-1 --log-key-file log-key.pub \\
    --out /etc/securenet/registry.jsonl --private fleet-keys.json
systemctl start securenet-gateway
securenet-fleet run --keys fleet-keys.json --coap coap://127.0.0.1:$PORT --log-key-file log-key.pub --coap-share 1 \\
    --rate 20 --duration 3 --no-live --json > fleet.json
"""
_CONFIG = """[gateway]
id = "gw-1"
fleet = "plant-7"
data_dir = "/var/lib/securenet"
log_key_file = "/etc/credstore/securenet.log-key"

[registry]
file = "/etc/securenet/registry.jsonl"

[mqtt]
enabled = false

[coap]
host = "127.0.0.1"
port = {port}

[http]
port = 0
"""


def blocks(page: Path, info: str = "sh") -> list[str]:
    """The page's blocks of this kind, in order."""
    return re.findall(rf"^```{re.escape(info)}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


class Box:
    """A folder in the place of a box's file system, with a gateway that has taken messages over CoAP."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port(socket.SOCK_DGRAM)
        for place in FIELD:
            (folder / place[1:]).mkdir(parents=True)
        self.config = folder / "etc/securenet/gateway.toml"
        self.config.write_text(self.here(_CONFIG.format(port=self.port)))
        self.log = folder / "var/log/securenet.log"

    def here(self, text: str) -> str:
        """The text with its paths in the folder."""
        for place in FIELD:
            text = re.sub(rf"(?<![\w.-]){re.escape(place)}\b", str(self.folder / place[1:]), text)
        return text

    def run(self, script: str, *, box: bool = True, timeout_s: float = 100) -> subprocess.CompletedProcess[str]:
        """Run commands of a page in one shell that ends at the first that fails."""
        whole = _UNIT + self.here((_BOX if box else "") + script)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        settings = {
            "PATH": path,
            "SECURENET_CONFIG": str(self.config),
            "LOG": str(self.log),
            "PIDFILE": str(self.folder / "pid"),
            "PORT": str(self.port),
            "PYTHONPATH": str(ROOT),
        }
        return subprocess.run(
            ["bash", "-em", "-c", whole],
            cwd=self.folder,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def told(self, done: subprocess.CompletedProcess[str]) -> str:
        """All that was said, for a failing assertion."""
        return done.stdout + done.stderr + (self.log.read_text() if self.log.exists() else "")
