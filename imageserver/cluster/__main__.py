"""Run this machine's node: `python -m imageserver.cluster`, or `… --join HOST:PORT` to offer its devices.

Without arguments it is the server's own node, as CLUSTER says: it ends with its parent, to whom it says on standard
output when it has started, and the address of the head.
"""

import os
import signal
import sys

from imageserver import startup
from imageserver.cluster.host.offered_devices import offered_devices
from imageserver.cluster.nodes import membership
from imageserver.cluster.nodes.own_node import (
    STARTED,
    refuse_windows,
    require_no_other_head,
    require_ray,
    require_token,
)
from imageserver.settings import Settings
from imageserver.settings.source import load_settings
from imageserver.telemetry.logs import configure_logging
from imageserver.web_addresses import checked_cluster

JOIN = "--join"


def main(arguments: list[str]) -> int:
    """Run the node until it is stopped; return the exit status, after a sentence where it is not 0."""
    settings, offers = load_settings(), arguments[:1] == [JOIN]
    if offers:
        settings = settings.model_copy(update={"cluster": _checked_head(arguments[1:])})
    configure_logging(settings)
    refuse_windows(settings)
    require_ray(settings)
    require_token(settings)
    if settings.cluster == membership.HEAD:
        require_no_other_head(settings)
    devices = offered_devices(settings) if offers else ()
    if offers and not devices:
        raise SystemExit("DEVICES=none leaves this machine nothing to offer: name its devices.")
    return _run(settings, devices)


def _run(settings: Settings, devices: tuple[str, ...]) -> int:
    # Imported here, after the check: Windows has no locks of files as they use.
    from imageserver.cluster.nodes.node import Node
    from imageserver.cluster.nodes.node_keeper import NodeKeeper, NodeUnusable

    node = Node(settings, is_head=settings.cluster == membership.HEAD, devices=devices)
    keeper = NodeKeeper(node)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, keeper.request_stop)
    try:
        keeper.start()
    except NodeUnusable as reason:
        raise SystemExit(f"The cluster at {membership.head_address(settings)} cannot be joined: {reason}") from None
    if devices:
        startup.say(f"This machine offers {', '.join(node.devices)} to {settings.cluster}. Ctrl+C ends that.")
    else:
        sys.stdout.write(f"{STARTED} {membership.head_address(settings)}\n")
        sys.stdout.close()
    parent = os.getppid()
    keeper.keep(lambda: bool(devices) or os.getppid() == parent)
    return 0


def _checked_head(arguments: list[str]) -> str:
    try:
        [address] = arguments
        return checked_cluster(address)
    except ValueError:
        raise SystemExit("--join needs HOST:PORT, the address that the first machine has printed.") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
