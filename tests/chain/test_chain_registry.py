"""The follower of the registry, over a little chain: what counts when, what is stale, what is begun anew."""

import asyncio

import pytest
from registry_world import (
    CHAIN_ID,
    KEYS,
    REGISTRY,
    LittleChain,
    World,
    device_registered,
    miner_registered,
    replay,
    status_changed,
)
from structlog.testing import capture_logs

from gateway.chain.contracts import ChainStatus, Kind
from gateway.chain.port import Block, ChainMisconfigured, EndpointFault, TooManyLogs
from gateway.chain.registry import WRITE_S
from gateway.chain.registry_status import FollowerState
from gateway.journal.rows import JournalFault
from gateway.registry.port import Status, TooManyTraitsError

SUSPENDED, ACTIVE, REVOKED = ChainStatus.SUSPENDED, ChainStatus.ACTIVE, ChainStatus.REVOKED


@pytest.fixture
def world():
    return World()


def status_of(world, name):
    known = world.registry.snapshot.device(name) or world.registry.snapshot.miner(name)
    return None if known is None else known.status


# --- what counts, and when ---


async def test_a_registration_counts_when_it_is_final_and_not_before(world):
    world.chain.mine(device_registered("d"), miner_registered("gw"))
    await world.look()
    assert world.contents() == {}
    world.chain.finalise()
    await world.look()
    assert world.contents() == replay(world.chain.happened(0, 1))


async def test_a_suspension_counts_from_the_newest_block_on_and_goes_with_its_block(world):
    world.chain.mine(device_registered("d"), miner_registered("gw"))
    world.chain.finalise()
    world.chain.mine(status_changed("d", SUSPENDED), status_changed("gw", SUSPENDED, Kind.MINER))
    await world.look()
    assert (status_of(world, "d"), status_of(world, "gw")) == (Status.SUSPENDED, Status.SUSPENDED)
    assert world.registry.status().head_suspensions == 2
    world.chain.reorg(1)
    world.chain.mine()
    await world.look()
    assert (status_of(world, "d"), status_of(world, "gw")) == (Status.ACTIVE, Status.ACTIVE)
    assert world.store.rows["d"].status == ACTIVE


async def test_an_endpoint_that_has_not_come_to_the_block_of_a_suspension_does_not_lift_it(world):
    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    world.chain.mine()
    world.chain.mine(status_changed("d", SUSPENDED))
    await world.look()
    await world.look(lag=1)
    assert status_of(world, "d") is Status.SUSPENDED


async def test_a_reinstatement_counts_when_it_is_final(world):
    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    world.chain.mine(status_changed("d", SUSPENDED))
    world.chain.mine(status_changed("d", ACTIVE))
    await world.look()
    assert status_of(world, "d") is Status.SUSPENDED
    world.chain.finalise(1)
    await world.look()
    assert status_of(world, "d") is Status.SUSPENDED
    world.chain.finalise()
    await world.look()
    assert status_of(world, "d") is Status.ACTIVE
    assert world.registry.status().head_suspensions == 0


async def test_a_revocation_at_the_head_outweighs_a_suspension_there(world):
    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    world.chain.mine(status_changed("d", REVOKED))
    await world.look()
    assert status_of(world, "d") is Status.REVOKED


async def test_a_miner_is_renewed_when_that_is_final(world):
    world.chain.mine(miner_registered("gw", KEYS[0], b"\x01" * 20))
    world.chain.finalise()
    world.chain.mine(miner_registered("gw", KEYS[1], b"\x02" * 20, renewed=True))
    await world.look()
    assert world.registry.snapshot.miner("gw").account == b"\x01" * 20
    world.chain.finalise()
    await world.look()
    miner = world.registry.snapshot.miner("gw")
    assert (miner.account, miner.key.data, miner.status) == (b"\x02" * 20, KEYS[1], Status.ACTIVE)


async def test_a_device_that_came_and_went_in_final_blocks_is_at_no_time_let_in(world):
    world = World(logs_blocks=1)
    await world.look()
    world.chain.mine(device_registered("d"))
    world.chain.mine(status_changed("d", REVOKED))
    world.chain.finalise()
    with pytest.raises(EndpointFault):
        await world.look(fail_at=2)
    assert world.store.rows["d"].status == ACTIVE
    assert status_of(world, "d") is None
    await world.restart()
    assert world.registry.is_stale()
    await world.look()
    assert status_of(world, "d") is Status.REVOKED


async def test_who_is_shut_out_is_so_although_the_look_fails_later(world):
    world.chain.mine(device_registered("d"), miner_registered("gw"))
    world.chain.finalise()
    await world.look()
    world.chain.mine(status_changed("d", SUSPENDED), status_changed("gw", REVOKED, Kind.MINER))
    world.chain.finalise()
    world.chain.mine()
    with pytest.raises(EndpointFault):
        await world.look(fail_at=2)
    assert (status_of(world, "d"), status_of(world, "gw")) == (Status.SUSPENDED, Status.REVOKED)


async def test_what_an_endpoint_with_an_older_final_block_calls_new_was_read_before(world):
    world.chain.mine(device_registered("d"))
    world.chain.mine(status_changed("d", SUSPENDED))
    world.chain.mine(status_changed("d", ACTIVE))
    world.chain.finalise()
    await world.look()
    await world.look(final_lag=2)
    assert status_of(world, "d") is Status.ACTIVE
    assert not world.registry.is_stale()


# --- how it is read ---


async def test_few_blocks_are_asked_for_at_once_where_an_endpoint_wants_it_so(world):
    for number in range(40):
        world.chain.mine(device_registered(f"d{number}"))
    world.chain.finalise()
    view = await world.look(most_blocks=5)
    assert len(world.contents()) == 40
    asked = [end - start + 1 for what, start, end in [each for each in view.asked if each[0] == "logs"]]
    assert asked[:4] == [2, 4, 8, 4]
    assert asked.count(8) == 1


async def test_an_endpoint_that_refuses_a_single_block_fails_the_look(world):
    world.chain.mine()
    world.chain.finalise()
    with pytest.raises(TooManyLogs):
        await world.look(most_blocks=0)
    assert world.registry.status().last_fault


async def test_the_contracts_are_looked_at_once_for_each_endpoint(world):
    for endpoint in ("http://one", "http://two", "http://one"):
        view = await world.look(endpoint=endpoint)
    assert not [each for each in view.asked if each[0] in {"code", "call"}]
    with pytest.raises(ChainMisconfigured, match="no code"):
        await world.look(endpoint="http://three", has_code=False)


async def test_before_the_contract_is_final_nobody_is_registered_and_that_is_known(world):
    world = World(deploy_block=3)
    world.chain.mine_empty(4)
    world.chain.finalise(2)
    await world.look()
    assert not world.registry.is_stale()
    assert world.contents() == {}
    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    await world.look()
    assert list(world.contents()) == ["d"]


async def test_a_look_over_many_events_lets_others_run(world):
    world.chain.mine(*(device_registered(f"d{number}") for number in range(512)))
    world.chain.finalise()
    turns = 0

    async def neighbour():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(neighbour())
    await world.look()
    task.cancel()
    assert turns >= 512 // 16


async def test_events_that_cannot_be_are_skipped_counted_and_told_once(world):
    small_order = bytes([1]) + bytes(31)
    world.chain.mine(
        device_registered("d"),
        device_registered("bad key", small_order),
        *(device_registered(f"bad-{number}", small_order) for number in range(5)),
        status_changed("nobody", SUSPENDED),
        device_registered("e"),
    )
    world.chain.finalise()
    with capture_logs() as lines:
        await world.look()
    assert list(world.contents()) == ["d", "e"]
    assert world.registry.status().skipped_events == 7
    told = [line for line in lines if line["event"] == "registry.event_skipped"]
    assert [line["count"] for line in told] == [7]


async def test_too_many_fleets_are_for_a_person_to_mend(world, monkeypatch):
    await world.look()

    def changed(*_):
        raise TooManyTraitsError("too many")

    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    monkeypatch.setattr("gateway.registry.port.RegistrySnapshot.changed", changed)
    with pytest.raises(ChainMisconfigured, match="several registries"):
        await world.look()


# --- the journal ---


async def test_a_restart_takes_up_the_state_and_reads_on_from_the_cursor(world):
    world.chain.mine(device_registered("d"), miner_registered("gw"))
    world.chain.mine_empty(20)
    world.chain.finalise()
    await world.look()
    before = world.contents()
    await world.restart(away_s=1.0)
    assert world.contents() == before
    assert not world.registry.is_stale()
    world.chain.mine(status_changed("d", REVOKED))
    world.chain.finalise()
    view = await world.look()
    assert [each for each in view.asked if each[0] == "logs"] == [("logs", 22, 22)]
    assert status_of(world, "d") is Status.REVOKED


async def test_a_look_that_finds_nothing_new_costs_the_disk_nothing_most_of_the_time(world):
    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    await world.look()
    writes = world.store.writes
    for _ in range(int(WRITE_S // 6) * 2):
        world.wait(6.0)
        world.chain.mine()
        world.chain.finalise()
        await world.look()
        assert world.registry.snapshot.as_of_ms == world.wall_ms
    assert world.store.writes - writes == 2
    assert world.wall_ms - world.store.cursor.as_of_ms < WRITE_S * 1000


async def test_a_journal_that_takes_nothing_leaves_everything_as_it_was_and_the_next_look_makes_up_for_it(world):
    await world.look()
    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    world.store.full = True
    with pytest.raises(JournalFault):
        await world.look()
    assert world.contents() == {}
    assert "full" in world.registry.status().last_fault
    world.store.full = False
    await world.look()
    assert list(world.contents()) == ["d"]
    assert world.registry.status().last_fault == ""


async def test_a_journal_of_another_registry_is_forgotten_and_nothing_of_it_accepted(world):
    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    await world.look()
    world.config = World(chain_id=CHAIN_ID + 1).config
    with capture_logs() as lines:
        await world.restart()
    assert [line["event"] for line in lines] == ["registry.source_changed"]
    assert world.contents() == {}
    assert world.registry.is_stale()
    world.chain = LittleChain()
    world.chain.mine(device_registered("e"))
    world.chain.finalise()
    await world.look()
    assert list(world.contents()) == list(world.store.rows) == ["e"]


async def test_restoring_once_more_takes_back_nothing_that_is_known_by_now(world):
    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    world.chain.mine(status_changed("d", SUSPENDED))
    await world.look()
    await world.registry.restore(world.store)
    assert status_of(world, "d") is Status.SUSPENDED
    world.chain = other(world.chain, 1)
    world.store.full = True
    with pytest.raises(JournalFault):
        await world.look()
    await world.registry.restore(world.store)
    assert (world.contents(), world.registry.is_stale()) == ({}, True)


async def test_rows_that_nobody_here_wrote_are_not_believed(world):
    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    await world.look()
    world.store.rows["d"] = world.store.rows["d"]._replace(key=b"short")
    with capture_logs() as lines:
        await world.restart()
    assert [line["event"] for line in lines] == ["registry.journal_refused"]
    assert world.registry.is_stale()
    await world.look()
    assert world.contents() == replay(world.chain.happened(0, 1))


# --- age ---


async def test_a_registry_that_was_never_synced_is_stale_and_empty(world):
    assert world.registry.is_stale()
    assert world.contents() == {}
    assert world.registry.status().state is FollowerState.NEVER_SYNCED
    assert world.registry.status().age_s is None
    await world.restart()
    assert world.registry.status().state is FollowerState.NEVER_SYNCED


async def test_without_a_look_the_state_becomes_stale_and_a_look_makes_it_good_again(world):
    await world.look()
    assert world.registry.status().state is FollowerState.FOLLOWING
    world.wait(world.max_age_s - 0.5)
    assert not world.registry.is_stale()
    world.wait(0.5)
    assert world.registry.status().state is FollowerState.STALE
    world.chain.mine()
    with pytest.raises(EndpointFault):
        await world.look(fail_at=0)
    assert world.registry.is_stale()
    changes = world.changes
    await world.look()
    assert not world.registry.is_stale()
    assert world.changes == changes + 1


async def test_a_wall_clock_that_jumps_makes_nothing_stale_in_a_running_gateway(world):
    await world.look()
    for jump_ms in (-(10**9), 2 * 10**9):
        world.wall_ms += jump_ms
        assert not world.registry.is_stale()


@pytest.mark.parametrize(("wall_s", "stale"), [(0.0, False), (99.0, False), (100.0, True), (-1.0, True), (1e9, True)])
async def test_after_a_restart_the_wall_clock_judges_and_one_that_went_back_is_not_believed(world, wall_s, stale):
    await world.look()
    await world.restart(wall_s=wall_s)
    assert world.registry.is_stale() is stale


async def test_after_a_restart_a_wall_clock_that_stands_still_does_not_keep_the_state_young(world):
    await world.look()
    await world.restart()
    world.monotonic_s += world.max_age_s
    assert world.registry.is_stale()


# --- another chain ---


def other(chain, keep, *happenings, blocks=10):
    found = LittleChain(chain, keep)
    found.mine(*happenings)
    found.mine_empty(blocks)
    found.finalise()
    return found


async def test_a_final_block_that_was_rewritten_is_told_and_everything_read_anew(world):
    world.chain.mine()
    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    await world.look()
    world.chain = other(world.chain, 2, device_registered("e"))
    with capture_logs() as lines:
        await world.look()
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["registry.rewritten"]
    assert list(world.contents()) == list(world.store.rows) == ["e"]
    assert world.registry.status().rewrites == 1


async def test_until_it_is_read_anew_nothing_is_accepted(world):
    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    await world.look()
    world.chain = other(world.chain, 1, device_registered("e"))
    changes = world.changes
    with pytest.raises(EndpointFault):
        await world.look(fail_at=2)
    assert world.registry.is_stale()
    assert world.contents() == {}
    assert world.changes == changes + 1
    await world.restart()
    assert world.registry.is_stale()
    await world.look()
    assert list(world.contents()) == ["e"]


async def test_a_journal_that_cannot_forget_is_asked_again_before_anything_is_written(world):
    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    await world.look()
    world.chain = other(world.chain, 1)
    world.store.full = True
    with pytest.raises(JournalFault):
        await world.look()
    assert world.registry.is_stale()
    world.store.full = False
    await world.look()
    assert (world.contents(), world.store.rows) == ({}, {})


async def test_a_chain_that_was_begun_anew_is_known_by_its_first_block_though_it_is_shorter(world):
    world.chain.mine(device_registered("d"))
    world.chain.mine_empty(30)
    world.chain.finalise()
    await world.look()
    await world.restart()
    world.chain = LittleChain()
    world.chain.mine(device_registered("e"))
    world.chain.finalise()
    await world.look()
    assert list(world.contents()) == ["e"]
    assert world.registry.status().rewrites == 1


async def test_an_endpoint_that_lags_far_behind_changes_nothing(world):
    world.chain.mine(device_registered("d"))
    world.chain.mine_empty(30)
    world.chain.finalise()
    await world.look()
    with pytest.raises(EndpointFault, match="it lags"):
        await world.look(lag=20)
    assert list(world.contents()) == ["d"]
    assert world.registry.status().rewrites == 0


async def test_an_endpoint_on_a_fork_that_is_not_final_there_changes_nothing(world):
    world.chain.mine(device_registered("d"))
    world.chain.mine_empty(5)
    world.chain.finalise()
    await world.look()
    forked = LittleChain(world.chain, 4)
    forked.mine_empty(5)
    forked.finalise(3)
    before, world.chain = world.chain, forked
    with pytest.raises(EndpointFault, match="on a fork"):
        await world.look()
    world.chain = before
    await world.look()
    assert list(world.contents()) == ["d"]
    assert world.registry.status().rewrites == 0


async def test_an_endpoint_without_the_final_block_that_it_must_have_is_at_fault(world):
    world.chain.mine_empty(5)
    world.chain.finalise()
    await world.look()
    world.chain.mine()
    world.chain.finalise()
    view = world.chain.view()

    async def none(_number) -> Block | None:
        return None

    view.block = none
    with pytest.raises(EndpointFault, match="it has no block 5"):
        await world.registry.look(view)


# --- what is told ---


async def test_the_status_says_how_it_goes(world):
    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    world.chain.mine(status_changed("d", SUSPENDED))
    await world.look()
    world.wait(3.0)
    status = world.registry.status()
    assert status == (FollowerState.FOLLOWING, 1, 2, world.wall_ms - 3000, 3.0, 1, 1, 0, 0, "")


async def test_while_the_first_look_is_under_way_it_is_syncing(world):
    world.chain.mine(device_registered("d"))
    world.chain.finalise()
    view = world.chain.view()
    logs, seen = view.logs, []

    async def watched(*asked):
        seen.append(world.registry.status().state)
        return await logs(*asked)

    view.logs = watched
    await world.registry.look(view)
    assert seen == [FollowerState.SYNCING]
    assert world.registry.status().state is FollowerState.FOLLOWING


async def test_looks_that_find_nothing_write_no_line_and_wake_nobody(world):
    await world.look()
    changes = world.changes
    with capture_logs() as lines:
        for _ in range(20):
            world.chain.mine()
            world.chain.finalise(1)
            await world.look()
        assert lines == []
        assert world.changes == changes
        world.chain.mine(device_registered("d"), device_registered("e"))
        world.chain.finalise()
        await world.look()
        world.chain.mine(status_changed("d", SUSPENDED))
        await world.look()
        await world.look()
    assert [line["event"] for line in lines] == ["registry.changed", "registry.shut_out_at_head"]
    assert lines[0]["devices"] == 2
    assert world.changes == changes + 2


def test_the_registry_is_made_without_asking_anybody(world):
    assert REGISTRY.hex() in world.registry._source
    assert world.store.writes == 0
