"""What makes a robust accuracy doubtful: a flag, and what each kind of it means.

A record holds flags as text, `code: what was seen`; an audit holds them whole.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import AfterValidator

from benchmark.core.schema import Frozen


class Kind(NamedTuple):
    """What a flag of one code says to whoever reads it."""

    broken: bool
    """Whether the score is an artefact of the attack's failure for all anybody knows; else it is
    only less certain than it looks."""
    meaning: str
    advice: str
    attacks: tuple[str, ...]
    """What to attack with in spite of it, as `--attacks` takes them: `--follow-advice`."""
    paper: str
    """Where it is explained: authors, year and address."""


ATHALYE = "Athalye et al. 2018, https://arxiv.org/abs/1802.00420"
AUTOATTACK = "Croce & Hein 2020, https://arxiv.org/abs/2003.01690"
CARLINI = "Carlini et al. 2019, https://arxiv.org/abs/1902.06705"
IOAF = "Pintor et al. 2022, https://arxiv.org/abs/2106.09947"
ADAPTIVE = "Croce et al. 2022, https://arxiv.org/abs/2202.13711"
BINARY = "Zimmermann et al. 2022, https://arxiv.org/abs/2206.13991"
CHEN = "Chen et al. 2022, https://arxiv.org/abs/2110.14735"
QUERIES = ("square", "rays", "transfer_pgd")
"""Attacks that need no gradient."""
STRONG = ("aa_linf",)
"""The strongest of a norm ball."""
AROUND, EXPECTED = ("pgd_linf_bpda", "pgd_linf_bpda[at=images]", *QUERIES), ("pgd_linf_eot",)
"""Those that leave out what a model adds to its network, and that average over its draws."""

OF_MODELS: dict[str, Kind] = {
    "randomised": Kind(
        False,
        "the model answers otherwise every time, so attacks aim at another model than the "
        "one that is scored",
        "attack the expectation over its randomness",
        ("eotpgd",),
        ATHALYE,
    ),
    "batch": Kind(
        True,
        "an image's answer depends on the images beside it, so that no verdict is its own",
        "evaluate with running statistics: eval()",
        (),
        AUTOATTACK,
    ),
    "probabilities": Kind(
        True,
        "outputs are probabilities: the loss saturates and its gradients vanish",
        "return logits",
        QUERIES,
        AUTOATTACK,
    ),
    "bounded": Kind(
        True,
        "outputs flatten out towards an end, where gradients vanish",
        "return what comes before the last function",
        QUERIES,
        AUTOATTACK,
    ),
    "gradient mode": Kind(
        True,
        "attacks and verdicts see two models",
        "answer alike with and without gradients",
        QUERIES,
        ATHALYE,
    ),
    "no gradient": Kind(
        True,
        "gradient attacks cannot run",
        "attack with a differentiable stand-in on the way back (BPDA)",
        QUERIES,
        ATHALYE,
    ),
    "gradients not finite": Kind(
        True,
        "gradient attacks are blind on these images",
        "find the step that divides by 0 or takes the root of 0",
        QUERIES,
        ATHALYE,
    ),
    "zero gradients": Kind(
        True,
        "gradient attacks are blind on these images",
        "attack with a loss that does not saturate, or without gradients",
        QUERIES,
        IOAF,
    ),
    "missing gradients": Kind(
        True,
        "gradient attacks leave values alone that matter",
        "let gradients through, or attack without them",
        QUERIES,
        ATHALYE,
    ),
    "order": Kind(
        True,
        "an image's answer depends on its place in the batch, so that no verdict is its own",
        "answer each image by itself",
        (),
        AUTOATTACK,
    ),
    "state": Kind(
        True,
        "the model that is scored is not the one that was attacked",
        "let nothing that is asked change the model",
        QUERIES,
        CARLINI,
    ),
    "inner optimisation": Kind(
        True,
        "the answer is found by an optimiser within the pass: attacks see its end, if that",
        "attack through all of its steps, and the model without them",
        (*QUERIES, "eotpgd"),
        ADAPTIVE,
    ),
    "quantised": Kind(
        True,
        "a first step rounds images: its true slope is 0, and any other one is made up",
        "attack what comes after it, or without gradients",
        QUERIES,
        ATHALYE,
    ),
    "abstains": Kind(
        True,
        "unusual images get one constant answer, without a slope: attacks end there",
        "score detection as such, and attack detector and classifier together",
        QUERIES,
        CARLINI,
    ),
    "saturated": Kind(
        True,
        "logits are so far apart that cross-entropy has no slope in float32",
        "divide logits by a constant, or attack with a loss without scale (DLR)",
        ("pgd_linf[loss=dlr]", *QUERIES),
        AUTOATTACK,
    ),
    "wrong gradients": Kind(
        True,
        "gradients are not the slopes of the loss: attacks follow something made up",
        "attack with the true slopes, or without gradients",
        QUERIES,
        ATHALYE,
    ),
}
"""What is seen by asking a model."""
OF_ATTACKS: dict[str, Kind] = {
    "unstable": Kind(
        False,
        "predictions change within a step of an attack, so that gradients there say little",
        "attack the mean over noise, or without gradients",
        ("eotpgd", *QUERIES),
        IOAF,
    ),
    "not repeated": Kind(
        True,
        "what an attack broke is right when asked again: it attacks another model than is scored",
        "find what the answer depends on beside the image",
        ("eotpgd", *QUERIES),
        IOAF,
    ),
    "unconstrained": Kind(
        True,
        "gradients lead nowhere: with no bound at all every image must fall",
        "attack without gradients",
        QUERIES,
        IOAF,
    ),
    "not monotone": Kind(
        True,
        "an attack that may do more breaks less, so it does not find what is there",
        "take the worst over sizes and steps, and attack without gradients",
        QUERIES,
        CARLINI,
    ),
    "one step": Kind(
        True,
        "one step breaks more than many: gradients are right at the image alone",
        "attack from the image itself, and without gradients",
        ("fgsm", *QUERIES),
        CARLINI,
    ),
    "noise": Kind(
        True,
        "chance breaks more than an attack of the same size",
        "attack without gradients",
        QUERIES,
        CARLINI,
    ),
    "black box": Kind(
        True,
        "who sees no gradient breaks what gradients do not: these are masked",
        "attack without gradients",
        QUERIES,
        AUTOATTACK,
    ),
    "transfer": Kind(
        True,
        "examples of another model break what gradients of this one do not: these are masked",
        "attack from surrogates, and without gradients",
        QUERIES,
        CARLINI,
    ),
    "twice the steps": Kind(
        False,
        "attacks have not converged",
        "attack with more steps",
        ("pgd_linf[steps=400]", "aa_linf"),
        CARLINI,
    ),
    "more restarts": Kind(
        False,
        "attacks end at the nearest of many optima",
        "attack with more restarts",
        ("pgd_linf[restarts=20]", "aa_linf"),
        CARLINI,
    ),
    "binarisation": Kind(
        True,
        "the attack misses adversarial examples that provably exist: what it leaves standing may "
        "fall to another",
        "attack without gradients, or fit the attack to the defense",
        QUERIES,
        BINARY,
    ),
}
"""What is seen by attacking a model without adaptation."""
OF_ADAPTATION: dict[str, Kind] = {
    "bypass": Kind(
        True,
        "attacks that go around what the model adds to its network break more than those that go "
        "through it, whose gradients it masks",
        "attack with the identity on the way back (BPDA), or the network inside",
        AROUND,
        ADAPTIVE,
    ),
    "expectation": Kind(
        True,
        "attacks on single draws of the model's randomness miss what attacks on its mean find",
        "attack the expectation over its randomness, with 20 draws or more",
        EXPECTED,
        ATHALYE,
    ),
    "randomness": Kind(
        True,
        "what resists is the noise, not the model: whoever knows the draw breaks it",
        "score the model at fixed draws, beside the expectation over them",
        EXPECTED,
        ATHALYE,
    ),
    "verdict noise": Kind(
        False,
        "verdicts change where nothing should change them, so that small differences mean nothing",
        "attack with more steps and restarts, or score more images",
        STRONG,
        AUTOATTACK,
    ),
    "adaptation": Kind(
        True,
        "the model did not adapt: numbers after it are those of the trained model, or of none",
        "adapt parameters, and nothing else: running statistics stay as they were trained",
        (),
        ADAPTIVE,
    ),
    "support loss": Kind(
        False,
        "adapting does not even fit what was shown",
        "choose steps and learning rate with `tune`",
        (),
        ADAPTIVE,
    ),
    "inflation": Kind(
        False,
        "stored examples, made for the model before it adapted, say too much of the adapted model",
        "quote reattacked@K, never static@K",
        (),
        ADAPTIVE,
    ),
    "rule": Kind(
        True,
        "who knows how the defender adapts, but not to what, breaks more than who attacks the "
        "adapted model itself: its gradients are masked",
        "quote the worst case of both: run --rule",
        QUERIES,
        CHEN,
    ),
    "draw": Kind(
        False,
        "what adapting gains depends on which images were shown, and is gone when others are",
        "show more images, or quote the mean over many draws",
        (),
        ADAPTIVE,
    ),
}
"""What is seen of adapted models, of randomness, and of verdicts asked for twice."""
UNDONE = "part failed"
OF_AUDITS: dict[str, Kind] = {
    UNDONE: Kind(
        False,
        "a part of the audit could not look, so nobody knows what it would have found",
        "mend what it says, or give it more time, and audit again",
        (),
        CARLINI,
    ),
}
"""What is seen of the audit itself."""
KINDS = {**OF_MODELS, **OF_ATTACKS, **OF_ADAPTATION, **OF_AUDITS}
"""By code."""


def _explained(code: str) -> str:
    if code not in KINDS:
        raise ValueError(f"a flag that nobody explains, {code[:40]!r}")
    return code


class Flag(Frozen):
    """One finding about one model."""

    code: Annotated[str, AfterValidator(_explained)]
    message: str
    """What was seen, in one line."""
    value: float | None = None
    """The measured number, where there is one, and beyond which it is a finding."""
    threshold: float | None = None

    @property
    def kind(self) -> Kind:
        """What flags of this code mean."""
        return KINDS[self.code]

    def __str__(self) -> str:
        """As records hold it."""
        return f"{self.code}: {self.message}"
