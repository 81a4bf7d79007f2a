"""Draws docs/screenshots anew: ``python tests/page/screenshots.py`` (needs chromium, node and ``npm ci``)."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import page_kit  # noqa: E402 -- the path is set above
from page_browser import look  # noqa: E402 -- likewise

KEPT = {
    "overview-light": "page-overview-light.png",
    "overview-dark": "page-overview-dark.png",
    "overview-phone-dark": "page-overview-phone.png",
    "device-light": "page-device-light.png",
    "anchors-phone-light": "page-anchors-phone.png",
    "models-dark": "page-models-dark.png",
    "proof-valid-light": "page-proof-light.png",
}
FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"


class Ordinary(page_kit.PageWorld):
    """A gateway on a good day."""

    def status(self):
        known = super().status() | {"warnings": []}
        known["rejected"] = {"rate-limited": 31, "bad-signature": 4, "duplicate": 212, "device-unknown": 9}
        return known


def main():
    page_kit.XSS = "bearing-wear"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        drawn = root / "drawn"
        drawn.mkdir()
        look(Ordinary(root / "world"), root, drawn, ["everyView", "proofs"])
        for name, kept in KEPT.items():
            shutil.copyfile(drawn / f"{name}.png", FOLDER / kept)
    smaller = shutil.which("pngquant")
    if smaller:  # a fifth of the size, where it is installed
        subprocess.run(
            [smaller, "--force", "--ext", ".png", "48", *(FOLDER / kept for kept in KEPT.values())], check=True
        )


if __name__ == "__main__":
    main()
