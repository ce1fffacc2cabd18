"""The options of meta-training, and which of them exclude each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from baselines.training.attack_pool import POOL
from benchmark.core.errors import UsageError
from benchmark.core.specs import check_numbers, dropped

Algorithm = Literal["maml", "fomaml", "reptile", "anil"]
Inner = Literal["captured", "simulated", "clean"]


@dataclass(frozen=True)
class MetaSettings:
    """What is meta-learned from which tasks: the options of `meta_adv` beside its warm-up."""

    name: ClassVar[str] = "meta_adv"
    algorithm: Algorithm = "maml"
    """maml: the outer gradient through the inner loop (Finn et al. 2017). fomaml: the inner
    gradients taken for constants. reptile: towards the adapted weights (Nichol et al. 2018). anil:
    maml whose inner loop moves the last linear layer only (Raghu et al. 2020)."""
    meta_sgd: bool = False
    """Inner step sizes are learned, one for each number that adapts (Li et al. 2017), and are there
    for `--adapt learned`. Kept as logarithms: positive by construction."""
    attacks: str = POOL
    """Attacks the tasks are made of, or `family:NAME`, joined by `+`; their families are seen."""
    attack_steps: int = 7
    strengths: str = dropped("1")
    held_out: str = dropped("")
    pool: Literal["rebuilt", "fixed"] = "rebuilt"
    """Whether tasks are drawn and crafted anew on the weights of the moment, or once at the start:
    then their query is not attacked again either."""
    pool_size: int = 32
    """Tasks of a fixed pool."""
    iterations: int = 120
    passes: int = 0
    """Budget of image passes, forward and backward, in place of `iterations` and `warmup_epochs`,
    which gets half of it; what `start` took comes on top."""
    tasks: int = 2
    """Per iteration."""
    shots: int = 5
    """Support images per class."""
    query: int = 5
    """Query images per class."""
    task_size: int = 0
    """If not 0: support and query of so many images each, drawn regardless of their class."""
    inner: Inner = "captured"
    """What a task adapts to: images attacked once, attacked anew in each inner step, or clean ones
    (adversarial querying, Goldblum et al. 2020)."""
    rehearse: bool = False
    """Whether as many clean images are beside them in each inner step, as in evaluation."""
    inner_steps: int = 3
    inner_lr: float = 0.02
    outer_lr: float = 1e-3
    step_sizes_lr: float = dropped(0.01)
    clean_weight: float = 0.5
    """Of the clean query in the outer loss."""
    regularise: float = dropped(0.0)

    def __post_init__(self) -> None:
        """Refuse negative numbers, and options that exclude each other."""
        check_numbers(self, least=0)
        if self.meta_sgd and not self.inner_lr:
            raise UsageError(
                f"{self.name}[meta_sgd=true,inner_lr=0]: step sizes are positive and begin at "
                "inner_lr; expected more than 0"
            )
        if self.meta_sgd and self.algorithm == "reptile":
            raise UsageError(
                f"{self.name}[algorithm=reptile,meta_sgd=true]: reptile has no gradient for step "
                "sizes; expected maml, fomaml or anil with meta_sgd"
            )

    @property
    def first_order(self) -> bool:
        """Whether inner gradients are constants to the outer gradient."""
        return self.algorithm in ("fomaml", "reptile")
