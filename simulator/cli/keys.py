"""``diffjscc keys``: make, admit, list and revoke the keys of the link."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from simulator.errors import KeysError

keys = typer.Typer(
    help="Keys of the link: encryption, and who may take part.", no_args_is_help=True
)

ChannelFolder = Annotated[Path, typer.Argument(help="Key folder of the channel.")]
Door = Annotated[Literal["tx", "rx", "watch"], typer.Argument(help="Which door the key opens.")]


@contextmanager
def one_sentence() -> Iterator[None]:
    """One sentence for what is wrong with a key."""
    from simulator.link.keys import KeyFileError

    try:
        yield
    except KeyFileError as error:
        raise KeysError(str(error)) from None


@keys.command("init")
def init_command(
    role: Annotated[
        Literal["channel", "tx", "rx", "watch"], typer.Argument(help="Who will have it.")
    ],
    folder: Annotated[Path, typer.Argument(help="Folder to make; it must be new.")],
    name: Annotated[
        str,
        typer.Option(
            help="Name of that tx or rx (tx.name, rx.name) or page; default: the folder's."
        ),
    ] = "",
    server: Annotated[Path | None, typer.Option(help="channel.pub, from the channel.")] = None,
) -> None:
    """Make a pair of keys in a new folder.

    Do it on the machine that will use them.
    """
    from simulator.link.keyfolder import CHANNEL, init

    with one_sentence():
        pair = init(folder, role, name, server)
    public = folder / f"{pair.name}.pub"
    typer.echo(f"{pair.role} {pair.name}: {pair.fingerprint}")
    if role == CHANNEL:
        typer.echo(f"send {public} to every tx and rx, and to who watches")
        typer.echo(f"admit theirs: diffjscc keys add {folder} tx|rx|watch NAME.pub")
    else:
        typer.echo(f"send {public} to the channel: diffjscc keys add FOLDER {role} {public.name}")
        if server is None:
            typer.echo(f"copy channel.pub of the channel to {folder / 'channel.pub'}")


@keys.command("add")
def add_command(
    folder: ChannelFolder,
    door: Door,
    file: Annotated[Path, typer.Argument(help="NAME.pub, made by keys init at the other side.")],
) -> None:
    """Admit a key, at once on a running channel."""
    from simulator.link.keyfolder import add

    with one_sentence():
        key = add(folder, door, file)
    typer.echo(f"admitted {door} {key.name}: {key.fingerprint}")


@keys.command("list")
def list_command(folder: ChannelFolder) -> None:
    """Show who is admitted: role, fingerprint, since when, name."""
    from simulator.link.keyfolder import DOORS, admitted, read_channel
    from simulator.link.keys import PublicKey

    with one_sentence():
        own = read_channel(folder)
        typer.echo(f"channel  {own.fingerprint}")
        for door in DOORS:
            for key in admitted(folder, door):
                if isinstance(key, PublicKey):
                    typer.echo(f"{door}  {key.fingerprint}  {key.added or '-'}  {key.name}")
                else:
                    typer.echo(f"{door}  not admitted: {key}")


@keys.command("revoke")
def revoke_command(
    folder: ChannelFolder,
    door: Door,
    name: Annotated[str, typer.Argument(help="As keys list shows it.")],
) -> None:
    """Revoke a key, at once on a running channel."""
    from simulator.link.keyfolder import revoke

    with one_sentence():
        revoke(folder, door, name)
    typer.echo(f"revoked {door} {name}")
