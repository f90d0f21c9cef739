"""The cards of a group by their names in DEVICE or DEVICES, such as cuda:0+cuda:1."""

from imageserver.engine.devices.devices import DeviceUnavailable


def cards_of(device: str) -> tuple[str, ...]:
    """Return the cards that a device of several names, joined by +; raises DeviceUnavailable."""
    cards = tuple(card.strip() for card in device.split("+"))
    for card in cards if len(cards) > 1 else ():
        kind, _, number = card.partition(":")
        if kind != "cpu" and not number.isdecimal():
            raise DeviceUnavailable(f"DEVICE={device}: every card of a group needs its number, as in cuda:0+cuda:1.")
        if kind != "cpu" and cards.count(card) > 1:
            raise DeviceUnavailable(f"DEVICE={device} names {card} twice.")
    return cards
