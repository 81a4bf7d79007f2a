"""Reports of what was done with models reach the chain's access log: each once, and never in an anchor's way."""

import pytest
from anchor_world import Node, World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.anvil import Checkpoint
from support.contracts_kit import Gateway, Models, id_hash
from support.scripted_rpc import Change, ScriptedRpc
from web3 import Web3

from gateway.anchor.precheck import Accesses
from gateway.chain.model_events import access_filter, decode_model_event
from gateway.chain.models import Result
from gateway.crypto.anchoring_key import AnchoringKey
from gateway.journal import AnchorRow, ReportRow, open_reader

MODEL = "pump"
LOADED = ReportRow(1, MODEL, 1, int(Result.LOADED), "")
REFUSED = ReportRow(2, MODEL, 2, int(Result.REFUSED), "expired")
RETURNED = ReportRow(3, MODEL, 1, int(Result.RETURNED), "")
REVERTS_WHEN_PAID = "0x3a600557005b5f5ffd"
"""A contract that takes every estimate, which has no gas price, and no transaction."""


class Reporting(World):
    """A gateway that anchors, and reports to a registry in which two versions of a model are published."""

    def register(self):
        super().register()
        self.models = Models(self.node.chain)
        self.models.register()
        for version in (1, 2):
            self.models.publish(MODEL, version)
        self.registry = bytes.fromhex(self.models.contract.address[2:])
        self.means_of = lambda means: means._replace(accesses=Accesses(self.registry, means.outbox))
        return self

    async def report(self, *rows):
        for row in rows:
            await self.journal.report_model(row)

    async def reported(self):
        """What the chain's access log has."""
        async with self.evm.view() as view:
            records = await view.logs(access_filter(self.registry, MODEL), 0, view.head.number)
        events = [decode_model_event(record) for record in records]
        assert all(event.gateway_hash == id_hash(self.name) for event in events)
        return [(event.version, int(event.result), event.reason) for event in events]

    async def access_states(self):
        return [row.state for row in reversed(await self.journal.newest_accesses(100))]

    async def bring_home(self):
        """Let the chain go on until nothing is owed and everything came to its end."""
        for _ in range(60):
            await self.look()
            self.node.mine(3)
            if not (await self.journal.owed_reports() or await self.journal.open_accesses()):
                return
            self.advance(6)
        raise AssertionError(await self.journal.newest_accesses(100))


@pytest.fixture
async def world(node, tmp_path):
    async with Reporting(node, tmp_path / "data").register() as made:
        yield made


async def test_what_was_done_with_a_model_is_in_the_access_log_in_its_order(world):
    await world.report(LOADED, REFUSED, RETURNED)
    await world.bring_home()
    assert await world.reported() == [(1, 1, ""), (2, 2, "expired"), (1, 3, "")]
    assert await world.access_states() == ["final"] * 3
    assert world.anchoring.accesses.status() == (0, 3, 0, "")


async def test_reports_and_anchors_share_the_nonces_and_each_arrives_once(world):
    for number in range(4):
        await world.report(LOADED._replace(time_ms=number))
        await world.grow(3)
        world.advance(11)
        await world.look(3)
        world.node.mine()
    await world.bring_home()
    await world.settle()
    assert len(await world.reported()) == 4
    await world.assert_custody(foreign=4)


async def test_an_anchor_that_is_due_goes_before_a_report(world):
    world.node.automine(False)
    await world.report(LOADED)
    await world.grow(5)
    world.advance(11)
    await world.look(3)
    assert (await world.states(), await world.access_states()) == (["broadcast"], [])
    world.node.mine()
    await world.look(2)
    assert await world.access_states() == ["broadcast"]


async def test_nothing_is_signed_while_a_report_waits_and_the_anchor_follows_it(world):
    world.node.automine(False)
    await world.report(LOADED)
    await world.look()
    await world.grow(5)
    world.advance(11)
    await world.look(2)
    assert (await world.states(), await world.access_states()) == ([], ["broadcast"])
    world.node.mine()
    await world.look()
    assert await world.states() == ["broadcast"]
    world.node.automine(True)
    await world.bring_home()
    await world.settle()
    await world.assert_custody(foreign=1)


async def test_a_report_that_blocks_pass_over_is_bid_up_under_the_same_nonce(world):
    world.node.automine(False)
    await world.report(LOADED)
    await world.look()
    first = (await world.journal.newest_accesses())[0]
    world.node.drop(first)
    world.node.mine()
    world.node.drop(first)
    world.advance(6)
    await world.look()
    assert await world.access_states() == ["replaced", "broadcast"]
    second = (await world.journal.newest_accesses())[0]
    assert second.nonce == first.nonce
    assert second.max_fee_wei * 8 >= first.max_fee_wei * 9
    world.node.automine(True)
    await world.bring_home()
    assert len(await world.reported()) == 1


async def test_a_process_that_dies_between_signing_and_sending_sends_the_same_bytes(world):
    await world.report(LOADED)
    send = world.evm.view

    class Killed(Exception):
        pass

    async with send() as view:

        async def die(raw):
            raise Killed

        view.send, kept = die, view.send
        with pytest.raises(Killed):
            await world.anchoring.look(view)
        view.send = kept
    signed = (await world.journal.newest_accesses())[0]
    assert signed.state == "signed"
    await world.reopen()
    await world.bring_home()
    last = (await world.journal.newest_accesses())[0]
    assert (last.id, last.tx_hash, last.state) == (signed.id, signed.tx_hash, "final")
    assert len(await world.reported()) == 1


async def test_a_report_whose_nonce_another_program_took_is_owed_again(world):
    world.node.automine(False)
    await world.report(LOADED)
    await world.look()
    first = (await world.journal.newest_accesses())[0]
    world.node.drop(first)
    world.let_another_program_use(first.nonce)
    world.node.mine()
    world.node.automine(True)
    await world.bring_home()
    assert await world.access_states() == ["abandoned", "final"]
    assert len(await world.reported()) == 1


async def test_a_report_behind_a_nonce_that_nobody_uses_is_owed_again_and_holds_no_anchor_up(node, tmp_path):
    with ScriptedRpc(node.url) as rpc:
        async with Reporting(node, tmp_path / "data", url=rpc.url).register() as world:
            await world.report(LOADED)
            rpc.faults["eth_getTransactionCount"] = Change(lambda params, result: hex(int(result, 16) + 5))
            await world.look()
            rpc.faults.clear()
            await world.grow(5)
            world.node.mine()
            await world.look()
            assert (await world.states(), await world.access_states()) == ([], ["broadcast"])
            await world.bring_home()
            await world.settle()
            assert await world.access_states() == ["abandoned", "final"]
            assert len(await world.reported()) == 1
            await world.assert_custody(foreign=1)


@pytest.mark.parametrize("mined", [False, True])
async def test_a_report_of_an_account_that_was_renewed_goes_out_by_the_new_one(world, mined):
    world.node.automine(False)
    await world.report(LOADED)
    await world.look()
    if not mined:
        world.node.drop((await world.journal.newest_accesses())[0])
    world.node.automine(True)
    world.node.mine()
    world.key = AnchoringKey((5000).to_bytes(32, "big"))
    account = Web3.to_checksum_address(world.key.address)
    world.node.chain.renew_miner(Gateway(world.name, account, number=900))
    world.node.fund(world.key.address, 10**19)
    await world.reopen()
    await world.bring_home()
    assert await world.access_states() == (["final"] if mined else ["abandoned", "final"])
    assert len(await world.reported()) == 1


async def test_a_report_that_no_contract_would_ever_take_is_closed_and_told_and_those_behind_it_go(world):
    await world.report(LOADED._replace(version=77), LOADED)
    await world.bring_home()
    assert await world.reported() == [(1, 1, "")]
    assert await world.access_states() == ["failed", "final"]
    assert world.anchoring.accesses.status().refused == 1


async def test_a_report_that_no_call_can_hold_is_closed_and_keeps_nobody_from_looking(world):
    await world.report(REFUSED._replace(reason="Not A Reason"), LOADED._replace(result=9), LOADED)
    await world.bring_home()
    assert await world.reported() == [(1, 1, "")]
    assert await world.access_states() == ["failed", "failed", "final"]


async def test_a_refusal_without_known_words_is_waited_for_and_loses_no_report(world):
    code = world.node.ask("eth_getCode", world.models.contract.address, "latest")
    world.node.ask("anvil_setCode", world.models.contract.address, "0x60006000fd")
    await world.report(LOADED)
    await world.look(2)
    assert await world.access_states() == []
    assert world.anchoring.accesses.status().hold.startswith("refused")
    world.node.ask("anvil_setCode", world.models.contract.address, code)
    await world.bring_home()
    assert len(await world.reported()) == 1


async def test_a_gateway_that_is_suspended_keeps_its_report_until_it_may_speak_again(world):
    world.node.chain.suspend(world.name)
    await world.report(LOADED)
    await world.look(2)
    assert await world.access_states() == []
    assert world.anchoring.accesses.status().hold.startswith("miner-not-active")
    world.node.chain.reinstate(world.name)
    await world.bring_home()
    assert len(await world.reported()) == 1
    assert world.anchoring.accesses.status().hold == ""


async def test_a_report_that_reverts_in_its_block_is_told_with_the_reason_and_sent_again_when_that_has_passed(world):
    world.node.automine(False)
    await world.report(LOADED)
    await world.look()
    sent = (await world.journal.newest_accesses())[0]
    world.node.drop(sent)
    world.node.automine(True)
    world.node.chain.suspend(world.name)  # after the estimate, before the block
    await world.look(2)
    row = (await world.journal.newest_accesses())[0]
    assert (row.state, row.tx_hash) == ("reverted", sent.tx_hash)
    assert "is not that of an active miner" in row.detail
    world.node.mine(3)
    await world.look(2)
    assert await world.access_states() == ["failed"]
    assert world.anchoring.accesses.status().hold.startswith("miner-not-active")
    world.node.chain.reinstate(world.name)
    await world.bring_home()
    assert await world.access_states() == ["failed", "final"]
    assert len(await world.reported()) == 1
    assert world.anchoring.accesses.status() == (0, 1, 0, "")


async def test_a_report_that_reverts_in_three_blocks_is_given_up_and_those_behind_it_go(world):
    code = world.node.ask("eth_getCode", world.models.contract.address, "latest")
    world.node.ask("anvil_setCode", world.models.contract.address, REVERTS_WHEN_PAID)
    await world.report(LOADED)
    await world.bring_home()
    assert await world.access_states() == ["failed"] * 4
    spent = [row for row in await world.journal.newest_accesses(10) if row.tx_hash is not None]
    assert len(spent) == world.node.nonce(world.key.address) == 3
    assert world.anchoring.accesses.status() == (0, 0, 1, "")
    world.node.ask("anvil_setCode", world.models.contract.address, code)
    await world.reopen()
    await world.report(RETURNED)
    await world.bring_home()
    assert await world.reported() == [(1, 3, "")]


async def test_a_report_loses_its_block_and_comes_back_by_the_same_bytes(tmp_path):
    with Node() as node:
        made = Reporting(node, tmp_path / "data", finality="confirmations", confirmations=10).register()
        async with made as world:
            node.mine(10)
            await world.report(LOADED)
            await world.look(2)
            before = (await world.journal.newest_accesses())[0]
            assert before.state == "mined"
            node.automine(False)
            node.ask("anvil_reorg", 1, [])
            await world.look()
            after = (await world.journal.newest_accesses())[0]
            assert (after.state, after.raw) == ("broadcast", before.raw)
            node.automine(True)
            node.mine()
            await world.bring_home()
            assert len(await world.reported()) == 1


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["report", "grow", "look", "mine", "late", "hold", "die"]), max_size=14))
async def test_whatever_happens_in_whatever_order_each_report_is_on_the_chain_once(node, tmp_path_factory, steps):
    before = Checkpoint(node.web3)
    reports = 0
    async with Reporting(node, tmp_path_factory.mktemp("log") / "data").register() as world:
        await world.grow(1)
        for step in steps:
            match step:
                case "report":
                    reports += 1
                    await world.report(LOADED._replace(time_ms=reports))
                case "grow":
                    await world.grow(2)
                case "look":
                    await world.look()
                case "mine":
                    node.mine()
                case "late":
                    world.advance(7)
                case "hold":
                    node.automine(False)
                case "die":
                    await world.reopen()
        node.automine(True)
        node.mine()
        await world.bring_home()
        world.advance(11)
        await world.look()
        await world.settle()
        assert len(await world.reported()) == reports
        await world.assert_custody(foreign=reports)
    before.restore()


async def test_the_outbox_of_reports_survives_a_database_that_had_to_be_set_aside(world):
    await world.report(LOADED, RETURNED)
    await world.look()
    before = await world.journal.newest_accesses(10)
    assert len(before) == 1
    world.journal._writer.suspect()
    await world.reopen()
    assert await world.journal.newest_accesses(10) == before
    with open_reader(world.directory) as reader:
        assert [owed.report for owed in reader.owed_reports(10)] == [RETURNED]
        assert not isinstance(reader.open_accesses()[0], AnchorRow)
