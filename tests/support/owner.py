"""A process that owns a local model server: loads one model with three workers, says so, and waits to be killed.

Arguments: the model archive, the folder for unpacked archives.
"""

import asyncio
import sys
from pathlib import Path

from tests.support.model_servers import open_servers
from wfmgmt.testing import load


async def main() -> None:
    """Load the model and wait for ever."""
    async with open_servers(Path(sys.argv[2])) as servers:
        await load(servers.models, Path(sys.argv[1]), min_workers=3)
        sys.stdout.write("loaded\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
