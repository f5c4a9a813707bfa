"""The command line's front door: the list of commands, and errors as one sentence. It imports no torch, no options.

The commands themselves are in `unfeature.commands`, imported when one is called.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import NoReturn

from cyclopts import App, CycloptsError, UnusedCliTokensError

from unfeature import __version__
from unfeature.errors import Interrupted, UnfeatureError

COMMANDS = {
    "demo": "See the whole job on a shipped generator: thick strokes out of mnist-vae.\n\n"
    "Example (a minute and a half):  unfeature demo runs/demo",
    "list": "List generators, measurements, finders, unlearners, metrics and presets.\n\n"
    "Example:  unfeature list generators",
    "open": "Open the page: mark pictures with the mouse or the keyboard, preview, unlearn, compare, prove.\n\n"
    "Example:  unfeature open runs\n"
    "Example:  unfeature open runs/thick --port 8000\n"
    "Example:  unfeature open runs --host 0.0.0.0 --token A-LONG-SECRET (others can reach it)",
    "check": "Say everything that is wrong with a generator of your own, and what to do; or that it conforms.\n\n"
    "Example:  unfeature check my_generator.py:load",
    "trust": "Allow a Python file that somebody else's run folder names; read it first, it runs with your rights.\n\n"
    "Example:  unfeature trust their_generator.py",
    "sample": "Start a run: draw pictures of a generator to mark.\n\n"
    "Example:  unfeature sample runs/thick --generator mnist-vae --count 6000\n"
    "Example:  unfeature sample runs/slant --after runs/thick (its unlearned generator)",
    "mark": "Name the feature and take marks: by a measurement, a function of images, a file, a CLIP-like model.\n\n"
    "Example:  unfeature mark runs/thick thickness --by thickness --per-side 500\n"
    "Example:  unfeature mark runs/faces glasses --by marks.csv --judge my_judge.py:shows_glasses\n"
    "Example:  unfeature mark runs/faces hats --by clip --clip-model models/clip --prompt hat --judge my_judge.py:hats",
    "find": "Find the feature the marks show: a direction and a threshold in latent space.\n\n"
    "Example:  unfeature find runs/thick --margin 0.25 (latent units)\n"
    "Example:  unfeature find runs/thick --also runs/slant --stand-in nearest",
    "preview": "Show in seconds, without training, what the copy would learn from.\n\n"
    "Example:  unfeature preview runs/thick --margins 0 --margins 0.25 --margins 0.5 (latent units)",
    "unlearn": "Train a copy of the generator that no longer makes the feature; goes on where it was stopped.\n\n"
    "Example:  unfeature unlearn runs/thick --steps 1500",
    "evaluate": "Measure original, rejection filter, teacher and unlearned on fresh samples.\n\n"
    "Example:  unfeature evaluate runs/thick --count 10000",
    "plan": "Say how many samples a ratio needs to be known so well.\n\n"
    "Example:  unfeature plan --ratio 0.003 --within 0.001",
    "attack": "Try to bring the feature back: search for latents, relearn it, take the weights apart.\n\n"
    "Every attack is made on the original and on a control too, where one is given.\n\n"
    "Example:  unfeature attack runs/thick\n"
    "Example:  unfeature attack runs/thick --attack relearning --control never_had_it.safetensors",
    "report": "Write the report: HTML, Markdown and JSON.\n\nExample:  unfeature report runs/thick",
    "export": "Write the unlearned generator for other programs, in the format that the file's ending says.\n\n"
    "Example:  unfeature export runs/thick --to unlearned.safetensors\n"
    "Example:  unfeature export runs/thick --to unlearned.onnx\n"
    "Example:  unfeature export runs/faces --to unlearned.pth (where the run began with a .pth)",
    "dossier": "Put everything a reviewer needs into one file: request, marks, method, evidence, attacks, hashes.\n\n"
    "Example:  unfeature dossier runs/thick\n"
    "Example:  unfeature dossier runs/thick --to thick.zip --key KEY.pem (signed)",
    "verify": "Check a dossier: is it whole, who signed it, is this the checkpoint that was measured?\n\n"
    "Example:  unfeature verify thick.zip\n"
    "Example:  unfeature verify thick.zip --key PUBLIC.pem --checkpoint unlearned.safetensors",
    "apply": "Put a diff that `export --format diff` wrote into a checkpoint, or take it out again.\n\n"
    "Example:  unfeature apply thick.diff original.pth --to unlearned.pth\n"
    "Example:  unfeature apply thick.diff mnist-vae --to unlearned.safetensors",
    "revert": "Bring back one of several features that were unlearned one after the other, about as it was.\n\n"
    "What an earlier run changed in the weights is subtracted. The last one goes back exactly: `apply --revert`.\n\n"
    "Example:  unfeature revert runs/slant --of runs/thick --to only_slant_gone.safetensors",
    "assets": "Check the files of others that benchmarks run against, or fetch missing ones: only then is a connection "
    "opened, and only with --yes.\n\n"
    "Example:  unfeature assets check\n"
    "Example:  unfeature assets fetch face_vae64 --yes",
    "bench": "Run every combination of a file of axes, and make one table and one plot of the results.\n\n"
    "Given again, by the same or by another machine that shares the folder, it goes on with what is not made yet.\n\n"
    "Example:  unfeature bench digits.toml runs/digits --processes 2",
    "run": "Do all of it from a file of options; given again, it goes on where it was stopped.\n\n"
    "Example:  unfeature run thick.toml runs/thick --preset paper",
}
"""Command -> its help. Adding one: a line here and a function of that name in `unfeature.commands`."""

SPINS = "2000"
"""How long a thread waits busily for its next piece of work, in libgomp's unit, unless the user's environment says so.

Its own 300,000 keep other programs off the cores: beside three busy processes on two cores a step of training on two
threads took 2,200 ms, with 2,000 it took 165; alone 33 with either, and 62 where threads sleep at once.
"""

app = App(
    name="unfeature",
    help="Remove a feature from a pre-trained image generator, and prove it.\n\nFirst time?  unfeature demo",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,  # told below
)
for _name, _help in COMMANDS.items():
    app.command(f"unfeature.commands:{_name}_", name=_name, help=_help)
app.register_install_completion_command()


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and leave with 0; 2 after a mistake of the user's; 130 when interrupted."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when torch is imported
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        print(_sentence(error), file=sys.stderr)
        sys.exit(2)
    except Interrupted as stopped:
        print(f"\n{stopped}", file=sys.stderr)
        sys.exit(130)
    except UnfeatureError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nStopped. What was written before is whole; give the same command again.", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def _sentence(error: CycloptsError) -> str:
    """What is wrong with the arguments, and the command that explains them."""
    explains = " ".join(("unfeature", *(error.command_chain or ()), "--help"))
    if error.__cause__ is not None and "pydantic" in type(error.__cause__).__module__:
        from unfeature.problems import told

        return f"BadOption: {told(error.__cause__)}. See:  {explains}"  # type: ignore[arg-type]
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        much = f"BadOption: {shlex.join(error.unused_tokens)} is too much; expected a name of several words in quotes"
        return f'{much}: "thick strokes". See:  {explains}'
    error.verbose = False
    return f"BadOption: {error} See:  {explains}"
