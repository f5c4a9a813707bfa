"""Files of others that benchmarks run against: are they whole, and how to get them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from unfeature import console
from unfeature.errors import BadFile, BadOption

if TYPE_CHECKING:
    from unfeature.assets import Manifest, State


def assets_(
    action: Annotated[Literal["check", "fetch"], Parameter(help="Look at the files, or get missing ones.")],
    /,
    *names: Annotated[str, Parameter(help="Some files only, e.g. face_vae64; fetch needs at least one.")],
    manifest: Annotated[Path, Parameter(help="TOML list of the files.")] = Path("benchmarks/assets.toml"),
    folder: Annotated[Path | None, Parameter(help="Where they lie; by default $UNFEATURE_ASSETS.")] = None,
    yes: Annotated[bool, Parameter(help="fetch: do open a connection to the host it names.", negative="")] = False,
) -> None:
    """The list of assets."""
    from unfeature import assets

    listed = assets.Manifest.read(manifest)
    chosen, place = listed.chosen(names), assets.folder_of(folder)
    if action == "fetch" and not names:
        raise BadOption("fetch was given no name; expected some of the list. See them:  unfeature assets check")
    with console.working("reading the files"):
        found = assets.states(chosen, place)
    if action == "fetch":
        return _fetch(listed, found, place, yes)
    console.assets(chosen, found)
    wrong = [name for name, state in found.items() if state in ("missing", "damaged")]
    if wrong:
        which = " ".join(name for name in wrong if not chosen[name].by_hand) or wrong[0]
        raise BadFile(
            f"{len(wrong)} of {len(found)} files in {place} are missing or damaged ({', '.join(wrong)}); expected them "
            f"whole. Get them, or be told how:  unfeature assets fetch {which}"
        )
    return None


def _fetch(listed: Manifest, found: dict[str, State], place: Path, yes: bool) -> None:
    """Say what would be fetched from where, and do it where the user wants it."""
    from unfeature import assets

    wanted = [name for name, state in found.items() if state in ("missing", "damaged")]
    for name in wanted:
        asset = listed.assets[name]
        if asset.by_hand:
            raise BadOption(f"{name} cannot be fetched. {asset.by_hand}")
        instead = " instead of the damaged one" if found[name] == "damaged" else ""
        console.say(f"{name}: from {listed.address(asset)}")
        console.say(f"  into {place / asset.file}{instead}; licence: {asset.licence}")
    if not wanted:
        console.say(f"Nothing to fetch: {', '.join(found)} in {place} as listed.")
    elif not yes:
        raise BadOption(
            f"this opens a connection to {listed.host}; nothing was sent so far. "
            f"If you want that:  unfeature assets fetch {' '.join(wanted)} --yes"
        )
    for name in wanted:
        with console.working(f"fetching {name} from {listed.host}"):
            written = assets.fetch(name, listed.assets[name], listed, place)
        console.say(f"wrote {written}")
