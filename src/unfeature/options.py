"""One schema for flags, TOML, the web form and docs: a field is an option, with default, range, meaning. No torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from unfeature import devices
from unfeature.errors import BadOption
from unfeature.problems import tables, told, unknown

FLIPS = "mnist-gradients"
"""The shipped network that tells flips and distances of grey pictures; it guides nobody."""

GALLERY_LENGTH = 1_000_000
"""Pictures of a gallery at most."""


LEAST_COUNTED, MOST_COUNTED = 100, 10_000_000
"""Fresh samples a row of an evaluation."""


class Options(BaseModel):
    """Frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        """Validated options; UnknownName with the nearest name, or BadOption listing every problem at once."""
        try:
            return cls(**values)
        except ValidationError as error:
            for problem in error.errors():
                if problem["type"] == "extra_forbidden":
                    raise unknown(cls, problem["loc"]) from None
            raise BadOption(f"{told(error)}. Names and ranges:  unfeature {tables(error)} --help") from None


def laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both, table by table; where both say something, what is above."""
    told = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(told.get(key), dict)
        told[key] = laid_over(told[key], value) if both else value
    return told


class SampleOptions(Options):
    """Pictures to mark."""

    count: int = Field(6000, ge=2, le=GALLERY_LENGTH, description="Pictures in the gallery.")
    seed: int = Field(0, ge=0, description="Run seed: which pictures, and everything that is drawn later.")


class MarkOptions(Options):
    """What the feature is, who marks it, and what would count as removed."""

    share: float = Field(0.10, gt=0, lt=1, description="A measured feature is in this share of the original's samples.")
    per_side: int = Field(500, ge=1, description="Marks kept with and without the feature, at most.")
    wrong: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Share of the smaller side's marks that are put on the other one, and as many back, to see what "
        "wrong marks do.",
    )
    wanted_ratio: float = Field(0.0042, gt=0, lt=1, description="Target ratio that counts as removed.")
    clip_model: str = Field("", description="With `--by clip`: folder of a CLIP-like model; nothing is downloaded.")
    prompt: str = Field("", description="With `--by clip`: the feature in words, e.g. a face with glasses.")
    contrast: str = Field("", description="With `--prompt`: its absence in words; without, the top `share` has it.")
    examples: tuple[str, ...] = Field(
        (), description="With `--by clip`: pictures that show the feature, files or folders; repeat the flag."
    )


class FindOptions(Options):
    """Marks -> feature; equations (1) to (5) of docs/explanation/method.md, or what docs/explanation puts in place."""

    finder: str = Field("linear", description="How the feature is found; see `unfeature list`.")
    vector: Literal["unit", "raw"] = Field("unit", description="Target vector of unit length, or as it is.")
    threshold: Literal["auto", "pooled", "balanced"] | float = Field(
        "auto",
        description="Mean projection of all samples drawn (pooled; a direction's auto), midpoint of the two sides' "
        "means, or a number: a projection, or standard deviations of a guide's score.",
    )
    margin: float | None = Field(
        None,
        ge=0,
        le=10,
        description="How far below the threshold erased latents land, in the threshold's unit; by default 0 along a "
        "direction, 0.1 for a guide's score.",
    )
    extractor: str = Field(
        "mnist-digits",
        description="Network that a probe of the marks looks through: a name or FILE.py:FUNCTION; empty: none.",
    )
    guide: str = Field("", description="FILE.py:NAME of a network that guides in place of a probe of the marks.")
    keep: tuple[str, ...] = Field(
        (),
        description="What must stay as it is while the feature goes: NAME=FILE.py:NAME, or NAME=FILE of marks (.csv, "
        ".json) that a probe learns; repeat the flag.",
    )
    stand_in: Literal["boundary", "nearest", "example"] = Field(
        "boundary",
        description="What an erased latent becomes: just without the feature, the nearest of fresh latents without it, "
        "or what lies towards a marked example without it.",
    )
    example: tuple[int, ...] = Field(
        (), description="With `--stand-in example`: seed of a picture marked as without it; by default the nearest."
    )
    also: tuple[str, ...] = Field(
        (), description="Run folder of the same generator whose feature goes in the same run; repeat the flag."
    )
    samples: int = Field(20_000, ge=100, le=1_000_000, description="Fresh samples that a guide scores, at most.")
    search_steps: int = Field(400, ge=1, le=1_000_000, description="Steps in which the latent search is learnt.")
    trials: int = Field(40, ge=10, le=100_000, description="Teachers that `--finder auto` tries, once or twice.")
    seconds: float | None = Field(
        None,
        gt=0,
        description="After so many it tries no more, and says so: equal bytes are then not promised; by default never.",
    )

    @property
    def kept(self) -> list[tuple[str, str]]:
        """(name, reference) of each `keep`; either is empty where an entry is not NAME=REFERENCE."""
        return [(name, reference) for name, _, reference in (entry.partition("=") for entry in self.keep)]


class PreviewOptions(Options):
    """The teacher's numbers before any training."""

    extractor: str = Field(FLIPS, description="Network that tells flips: a name or FILE.py:FUNCTION; empty: no flips.")
    count: int = Field(2000, ge=10, le=1_000_000, description="Fresh samples measured.")
    thresholds: tuple[float, ...] = Field((), description="Thresholds to compare, in `find`'s unit; repeat the flag.")
    margins: tuple[Annotated[float, Field(ge=0, le=10)], ...] = Field(
        (), description="Margins to compare, in `find`'s unit; repeat the flag."
    )
    instant: bool = Field(False, description="Also the instant edit's numbers: a copy made in seconds.")


class UnlearnOptions(Options):
    """Distillation on erased latents, equations (6) to (9) of docs/explanation/method.md; or a baseline."""

    unlearner: str = Field("distillation", description="How the copy is trained; see `unfeature list`.")
    alpha: float = Field(0.25, ge=0, le=1000, description="Weight of unlearning against reconstruction.")
    perceptual: float = Field(1.0, ge=0, le=1000, description="Weight of MS-SSIM within them; 0 leaves it out.")
    perceptual_rest: float = Field(0.0, ge=0, le=1000, description="Weight of MS-SSIM where nothing is to change.")
    l1: Literal["mean", "sum"] = Field("mean", description="Absolute differences averaged or summed over pixels.")
    shortfall: float = Field(
        0.0, ge=0, le=1000, description="Weight of what a copy lacks of each edit, while it is behind its teacher."
    )
    penalty: float = Field(
        1.0, ge=0, le=1_000_000, description="Weight of what baselines say of the weights: amnesia's and repulsion's."
    )
    against_search: int = Field(
        0,
        ge=0,
        le=65536,
        description="Latents that climb in the copy while it trains, towards what the guide still sees; the half that "
        "shows most is beside each batch: harder to attack, at a price in other pictures.",
    )
    warm_start: bool = Field(
        False, description="Begin from the instant edit where that is nearer to the teacher than the original is."
    )
    learning_rate: float = Field(2e-3, gt=0, le=1, description="Adam's, at the start.")
    relative: bool = Field(
        False,
        description="The learning rate is a share of each tensor's own root mean square, and not the same for all.",
    )
    schedule: Literal["constant", "cosine"] = Field("cosine", description="Learning rate over the steps.")
    batch: int = Field(64, ge=1, le=65536, description="Fresh latents per step.")
    steps: int = Field(1000, ge=1, le=10_000_000, description="Steps at most.")
    check_every: int = Field(50, ge=1, description="Steps between checks, saved states and log lines.")
    tolerance: float = Field(0.005, gt=0, le=1, description="Mean absolute pixel distance to the teacher to reach.")
    precision: Literal["32-true", "bf16-mixed"] = Field("32-true", description="Lightning Fabric's precision.")
    device: str = Field(
        default_factory=devices.named,
        description="Where the copy is trained: cpu, cuda, mps or auto; by default as UNFEATURE_DEVICE says.",
    )


class EvaluateOptions(Options):
    """The evidence."""

    extractor: str = Field(FLIPS, description="Network behind distances and flips: a name or FILE.py:FUNCTION.")
    count: int = Field(10_000, ge=LEAST_COUNTED, le=MOST_COUNTED, description="Fresh samples per row.")
    instant: bool = Field(False, description="Also a row for the instant edit, which needs no training.")
    control: str = Field(
        "", description="Checkpoint of the same architecture that never had the feature: a row of its own."
    )


class AttackOptions(Options):
    """Attempts to bring the feature back: on the original, on the unlearned copy, on a control."""

    attack: tuple[str, ...] = Field(
        (), description="One attack only; see `unfeature list attacks`; repeat the flag; by default all that apply."
    )
    control: str = Field(
        "", description="Checkpoint of the same architecture that never had the feature: attacked like the copy."
    )
    guide: str = Field(
        "",
        description="FILE.py:NAME of a network that guides searches; by default the feature's own guide, or else a "
        "probe of the marks. Never the judge.",
    )
    extractor: str = Field(
        "mnist-digits", description="Network that a probe of the marks looks through: a name or FILE.py:FUNCTION."
    )
    encoder: str = Field("", description="FILE.py:FUNCTION, pictures to latents: for the encoder's path.")
    restarts: int = Field(64, ge=2, le=100_000, description="Searches, each from a fresh latent of its own.")
    search_steps: int = Field(100, ge=1, le=1_000_000, description="Steps of each; random search tries as many.")
    search_rate: float = Field(0.1, gt=0, le=10, description="Adam's rate of all searches, in standard deviations.")
    pictures: int = Field(24, ge=2, le=100_000, description="Pictures with the feature that are inverted.")
    inversion_restarts: int = Field(3, ge=1, le=1000, description="Latents from which each picture is searched for.")
    inversion_steps: int = Field(150, ge=1, le=1_000_000, description="Steps of each of these searches.")
    relearn_from: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 8, 64), min_length=1, description="Numbers of pictures with the feature that the target is trained on."
    )
    benign: int = Field(64, ge=1, le=100_000, description="Pictures without the feature it is fine-tuned on.")
    tuning_steps: int = Field(200, ge=1, le=1_000_000, description="Steps of relearning and of fine-tuning.")
    tuning_rate: float = Field(
        0.005, gt=0, le=1, description="Adam's rate of both, as a share of each tensor's own root mean square."
    )
    samples: int = Field(1000, ge=10, le=10_000_000, description="Fresh samples behind each share that shows it.")
    factors: tuple[float, ...] = Field(
        (-0.5, 0.5, 1.0, 1.5),
        min_length=1,
        description="Weights as original + factor (target - original); 0 is the original.",
    )
    pruned: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.1, 0.3, 0.5), min_length=1, description="Shares of the smallest weights set to zero."
    )


class AlsoOptions(Options):
    """Another feature that goes in the same run; what its tables do not say is as in the run's own."""

    marks: str = Field("", description="Who marks, as for the run's own; empty: the measurement of the feature's name.")
    judge: str = Field("", description="Who decides whether it is gone; empty: whoever marks.")
    mark: MarkOptions = MarkOptions()
    find: FindOptions = FindOptions()


class RunOptions(Options):
    """Everything `unfeature run FILE.toml` needs: a table for each verb, over `preset = "NAME"` where it says so."""

    generator: str = Field("mnist-vae", description="Shipped name, checkpoint file or FILE.py:FUNCTION.")
    weights: str | None = Field(None, description="Checkpoint file put in place of the generator's own weights.")
    arguments: dict[str, Any] = Field({}, description="Of the generator's family or function; see `sample --argument`.")
    feature: str = Field("thickness", description="What the feature is called in files and reports.")
    marks: str = Field(
        "thickness", description="Who marks: a measurement, FILE.py:FUNCTION, a JSON or CSV of marks, clip or truth."
    )
    judge: str = Field("", description="Who decides the result; empty: whoever marks by a measurement or function.")
    sample: SampleOptions = SampleOptions()
    mark: MarkOptions = MarkOptions()
    find: FindOptions = FindOptions()
    preview: PreviewOptions = PreviewOptions()
    unlearn: UnlearnOptions = UnlearnOptions()
    evaluate: EvaluateOptions = EvaluateOptions()
    attack: AttackOptions | None = Field(
        None, description="A table of its own, which may be empty: then the result is attacked too."
    )
    also: dict[Annotated[str, Field(pattern=r"^\w[\w .+-]*$")], AlsoOptions] = Field(
        {}, description="Feature that goes in the same run -> its `marks`, `judge`, and tables `mark` and `find`."
    )

    @model_validator(mode="before")
    @classmethod
    def _as_the_own(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Every other feature is marked and found like the run's own, where its tables do not say otherwise."""
        if not isinstance(also := values.get("also"), dict):
            return values
        own = {verb: values[verb] for verb in ("mark", "find") if isinstance(values.get(verb), dict)}
        own["find"] = {key: value for key, value in own.get("find", {}).items() if key not in ("also", "example")}
        return {**values, "also": laid_over({name: own for name in also}, also)}


class BenchOptions(Options):
    """What `unfeature bench FILE.toml` compares: every combination of a value of each axis, for every seed."""

    title: str = Field("Benchmark", description="Above the table and the plot.")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="Run seeds; each is a run of every combination.")
    base: dict[str, Any] = Field({}, description="Options of every cell, as in a file for `run`.")
    axes: dict[str, dict[str, dict[str, Any]]] = Field(
        {}, description="Axis -> value -> options that make it, laid over `base` in the axes' order; one axis at least."
    )
