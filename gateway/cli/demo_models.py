"""The demo's models: made secret, published, loaded, withheld; the operator's commands, two devices and an authority.

Lanes go on side by side, each a sequence of commands and of things that are waited for: the authority's house, the
detector with the bearing that fails, the reader of digits with the grant that is taken back. ``Delivery.look`` moves
each of them on as far as it goes, and never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple

from gateway.cli.demo_chain import ADMIN, NICE, PUBLISHER, REGISTRAR, Command, Office
from gateway.cli.demo_papers import PUBLISHER_NAME, TWIN, Named, Papers, card_of
from gateway.cli.demo_parts import Child, DemoError, python_child

Lane = Generator[None, None, None]
Answer = Generator[None, None, dict[str, Any]]

_PATIENCE_S: Final = 40.0
_READING_S: Final = 2.0
"""So long the camera is heard with the model in force, and once more after the refusal."""
_SERVING: Final = "serving publishers on"


class Cast(NamedTuple):
    """The two devices, and where the authority listens."""

    camera: Child
    sensor: Child
    port: int


class Place(NamedTuple):
    """The publisher's block store; the RPC of a Kubo node, or nothing, and then the CAR file in its place."""

    store: Path
    kubo: str
    car: Path


class Delivery:
    """The story of the models.

    Args:
        office: types the commands.
        papers: files and keys.
        cast: the devices.
        place: where bundles go.
        names: this gateway and its fleet.
    """

    def __init__(self, office: Office, papers: Papers, cast: Cast, place: Place, names: tuple[str, str]) -> None:
        self.cast = cast
        self.block: int | None = None
        """Where the reader's first version was published."""
        self.manifests: list[str] = []
        """The reader's versions, by the CIDs of their manifests in the publisher's store."""
        self.is_complete = False
        self._office = office
        self._papers = papers
        self._detector, self._reader = papers.detects, papers.reads
        self._place = place
        self._gateway, self._fleet = names
        self._house = python_child("authority", "gateway", self._serve_words(), papers.folder / "authority.log")
        self._status: Mapping[str, Any] = {}
        self._serving = self._granted = self._playing = self._ended = False
        self._trainer = ""
        self._carried: list[str] = []
        self._news: list[str] = []
        self._lanes: dict[str, Lane] = {
            "house": self._open_house(),
            "papers": self._sign(),
            "detector": self._detect(),
            "reader": self._read(),
        }

    # --- what the stage calls ---

    def grant(self) -> None:
        """Let the publisher, a second gateway and both gateways in, by transaction. Raises as ``Office.wait``."""
        twin = [word for pair in self._papers.twin_keys.items() for word in pair]
        self._office.ask(
            REGISTRAR, "miner", "register", TWIN, "--fleet", self._fleet, *twin, *self._office.configured
        )
        self._office.ask(
            REGISTRAR, "model", "grant", self._reader.model_id, self._gateway, TWIN, *self._office.configured
        )
        self._office.ask(
            REGISTRAR, "model", "grant", self._detector.model_id, self._gateway, *self._office.configured
        )
        self._granted = True

    def play(self) -> None:
        """Let the camera look, and the reader be published: the gateway is ready. Raises as ``Child.start``."""
        self._playing = True
        self.cast.camera.start()

    def look(self, status: Mapping[str, Any] | None = None, *, ending: bool = False) -> bool:
        """See what happened, do what is due; whether the story is over.

        Args:
            status: the gateway's, when it is known.
            ending: the demo is to end early.

        Raises:
            DemoError: a command or a part failed.
        """
        if status is not None:
            self._status = (status.get("models") or {}).get("models", {})
        if self._serving:
            self._house.must_run()
        if ending and not self._ended and not self.is_complete:
            self._ended = True
            self._lanes.clear()
            for device in self.devices:
                device.ask_to_end()
        for name, lane in list(self._lanes.items()):
            try:
                next(lane)
            except StopIteration:
                del self._lanes[name]
        if self._lanes or any(device.ended() is None for device in self.devices if device.is_started):
            return False
        self.is_complete = not self._ended
        return True

    def news(self) -> Iterator[str]:
        """What there is to tell since it was asked last."""
        told, self._news = self._news, []
        yield from told

    def children(self) -> tuple[Child, ...]:
        """Every process of it, but the commands."""
        return (*self.devices, self._house)

    @property
    def models(self) -> tuple[Named, Named]:
        """The reader's first version and the detector."""
        return self._reader, self._detector

    @property
    def devices(self) -> tuple[Child, Child]:
        """The camera and the sensor."""
        return self.cast.camera, self.cast.sensor

    # --- the lanes ---

    def _open_house(self) -> Lane:
        """CENTAUTH: made, told of its one publisher, and served over mutual TLS."""
        papers = self._papers
        where = ("--dir", papers.authority, "--passphrase-file", papers.passphrase)
        yield from self._do("", "authority", "init", *where, "--tls", "127.0.0.1")
        mine = [word for name in (self._reader.model_id, self._detector.model_id) for word in ("--model", name)]
        request = ("--csr", papers.request, "--out", papers.certificate)
        yield from self._do("", "authority", "publishers", "add", PUBLISHER_NAME, *request, *mine, *where)
        while not self._granted:
            yield
        self._house.start()
        log = papers.folder / "authority.log"
        yield from self._until(lambda: _SERVING in log.read_text(encoding="utf-8", errors="replace"), self._house)
        self._serving = True
        self._tell("the authority gives keys to its one publisher")

    def _sign(self) -> Lane:
        """The trainer signs what came out of its training."""
        for model in self._papers.models:
            said = yield from self._do("", "model", "sign", card_of(model), "--signing-key", self._papers.trainer)
            self._trainer = said["public_key"]

    def _detect(self) -> Lane:
        """The detector is published before the gateway is up; then a bearing tells of its life, and fails."""
        while "papers" in self._lanes or not self._serving:
            yield
        address = self._office.address(PUBLISHER)
        known = (address, self._papers.public, "--wait", "final")  # and with it the grants, which are older
        yield from self._do(ADMIN, "model", "publisher", *known, *self._office.configured)
        yield from self._publish(self._papers.detector)
        self._tell("a detector of faults is published")
        yield from self._until(lambda: self._is(self._detector, "running") and self._playing)
        self._tell(f"a bearing reports; its detector judges after {self._papers.filling} readings at the latest")
        self.cast.sensor.start()
        while self.cast.sensor.ended() is None:
            yield
        self._tell("the bearing's fault is over")

    def _read(self) -> Lane:
        """The reader is published while a camera looks; the grant is taken back; the next version stays closed."""
        yield from self._until(lambda: self._playing and self._is(self._detector, "newest"))
        first, second = self._papers.readers
        following = self._reader._replace(version=self._reader.version + 1)
        said = yield from self._publish(first)
        self.block = int(said["block"])
        self.manifests.append(said["manifest_cid"])
        self._tell("a reader of digits is published")
        yield from self._until(lambda: self._is(self._reader, "running"))
        self._tell("the gateway has opened it, and reads what the camera sees")
        yield from self._wait(_READING_S)
        yield from self._do(
            PUBLISHER, "model", "ungrant", self._reader.model_id, self._gateway, *self._office.configured
        )
        said = yield from self._publish(second)
        self.manifests.append(said["manifest_cid"])
        self._tell("the grant is taken back, and the next version is published")
        yield from self._until(lambda: self._is(following, "refused"))
        self._tell("the gateway cannot open it, and reads on with the version before")
        yield from self._wait(_READING_S)
        self.cast.camera.ask_to_end()

    # --- what a lane is made of ---

    def _publish(self, model: Path) -> Answer:
        """DISTEN. Without an IPFS node the bundle is carried to the gateway by hand."""
        papers, place = self._papers, self._place
        certificate = ("--authority-cert", papers.certificate, "--authority-cert-key", papers.request_key)
        words: list[str | Path] = ["model", "publish", model, "--trainer-key", self._trainer]
        words += ["--signing-key", papers.signing, "--authority", f"https://127.0.0.1:{self.cast.port}"]
        words += [*certificate, "--authority-ca", papers.authority / "ca.crt", "--store", place.store]
        words += ["--kubo", place.kubo] if place.kubo else []
        said = yield from self._do(PUBLISHER, *words, *self._office.configured)
        if not place.kubo:
            self._carried.append(said["manifest_cid"])
            wanted: list[str | Path] = ["model", "export", *self._carried, "--out", place.car, "--store", place.store]
            yield from self._do("", *wanted)
        return said

    def _do(self, account: str, *words: str | Path) -> Answer:
        """Type a command once its account has no other under way; what it answers."""
        while not self._office.is_free(account):
            yield
        command: Command = self._office.begin(account, *words, nice=NICE)
        while (said := self._office.answer(command)) is None:
            yield
        return said

    def _until(self, seen: Callable[[], bool], child: Child | None = None) -> Lane:
        """Wait until it is seen, but not for ever: what never came is the judge's to name."""
        deadline_s = monotonic() + _PATIENCE_S
        while not seen():
            if child is not None:
                child.must_run()
                if monotonic() > deadline_s:
                    raise DemoError(f"the {child.name} does not come up. {child.last_words()}")
            if monotonic() > deadline_s and self._playing:
                return
            yield

    @staticmethod
    def _wait(seconds: float) -> Lane:
        until_s = monotonic() + seconds
        while monotonic() < until_s:
            yield

    def _is(self, model: Named, what: str) -> bool:
        """Whether this version of a model is what the gateway's status calls newest, running, refused."""
        told: Mapping[str, Any] = self._status.get(model.model_id, {})
        return bool(told.get(what) == model.version)

    def _tell(self, text: str) -> None:
        self._news.append(text)

    def _serve_words(self) -> list[str | Path]:
        papers = self._papers
        where: list[str | Path] = ["--dir", papers.authority, "--passphrase-file", papers.passphrase]
        listen = ("--listen", f"127.0.0.1:{self.cast.port}")
        return ["authority", "serve", *where, *listen, *self._office.configured]
