"""Other sources while the gateway runs: the next file comes from them, and one that is being fetched goes on."""

from contextlib import aclosing

from ipfs_kit import BLOCKS, DATA, ROOT, fetched, opened
from support.ipfs_gateway import IpfsGateway

from gateway.vault.ipfs import fetch_file
from gateway.vault.ipfs_sources import GatewaySource
from gateway.vault.unixfs import FileLimits


async def test_the_next_file_comes_from_the_new_source_and_an_open_one_from_the_old():
    async with IpfsGateway(BLOCKS) as old, IpfsGateway(BLOCKS) as new, opened(GatewaySource(old.url)) as sources:
        async with aclosing(fetch_file(ROOT, sources, FileLimits(file_bytes=1 << 30))) as parts:
            data = await anext(parts)
            async with opened(GatewaySource(new.url)) as other:
                await sources.become(other)
            data += b"".join([part async for part in parts])
        assert data == DATA
        assert (len(old.asked), new.asked) == (1, [])
        assert await fetched(ROOT, sources) == DATA
        assert new.asked == [("car", ROOT)]
