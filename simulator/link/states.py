"""What a frame goes through at tx and at the channel, as tables: state -> event -> next state.

The processes move frames by these tables alone, so an event that a state does not know is an
error at once; ``diagram`` draws them for docs/reliability.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

Table = Mapping[str, Mapping[str, str]]

END = "[*]"  # also the start, in a diagram

#: A frame at tx. ``stored``: it has its row.
AT_TX: Table = {
    "loading": {"loaded": "asking", "stored": END},
    "asking": {
        "unanswered": "asking",
        "refused": "asking",
        "new channel": "asking",
        "granted": "encoding",
        "held": "sent",
        "stored": END,
    },
    "encoding": {"encoded": "sent", "stale": "asking", "refused": "asking", "stored": END},
    "sent": {
        "held": "sent",
        "next round": "encoding",
        "unanswered": "asking",
        "refused": "asking",
        "new channel": "asking",
        "stored": END,
    },
}

#: A frame at the channel. ``half``: it is to be on the air together with another one, which has
#: not come yet. ``dropped``: it is answered, refused or given up; tx asks again if it still needs
#: it.
AT_CHANNEL: Table = {
    "waiting": {"admitted": "granted", "dropped": END},
    "granted": {
        "asked again": "granted",
        "round accepted": "returning",
        "accepted": "queued",
        "half accepted": "half",
        "dropped": END,
    },
    "half": {"other half came": "queued", "dropped": END},
    "returning": {"asked again": "granted", "returned": "granted", "dropped": END},
    "queued": {"delivered": "leased", "dropped": END},
    "leased": {"receiver lost": "queued", "dropped": END},
}


class Stateful:
    """Something with a ``state``, which starts at the first of its table."""

    table: ClassVar[Table]
    state: str

    def take(self, event: str) -> None:
        """Go where ``event`` leads. Raises ``KeyError`` where it cannot happen."""
        self.state = self.table[self.state][event]


def diagram(table: Table) -> str:
    """In the language of Mermaid, which code hosts draw."""
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(table))}"]
    for state, events in table.items():
        for target in dict.fromkeys(events.values()):
            words = ", ".join(event for event, then in events.items() if then == target)
            lines.append(f"    {state} --> {target}: {words}")
    return "\n".join(lines)
