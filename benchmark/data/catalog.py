"""What is known of each data set before it is read: sizes, files and their md5, where to get it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.core.types import Shape
from benchmark.data.readers import Arrays, parse_cifar, parse_idx, parse_svhn
from benchmark.results.sizes import SIZES, Sizes

Files = Mapping[str, str]
"""Files that are read together: name -> md5 of the published (unpacked) content."""


@dataclass(frozen=True)
class Facts:
    """What is known of a data set before it is read."""

    shape: Shape
    classes: int
    sizes: Sizes
    torchvision: str = ""
    """The class of torchvision.datasets that downloads it; empty: embedded in scikit-learn."""
    folder: str = ""
    train: tuple[Files, ...] = ()
    """Parts of equal size; any of them is enough to go on."""
    test: tuple[Files, ...] = ()
    parse: Callable[[Sequence[bytes], Path], Arrays] = parse_cifar
    """Reads one part."""
    rarest: int | None = None
    """Validation images of the rarest class; None: all classes have equally many."""
    drawn: str = ""
    """Which parts came with nothing that says what belongs in them, and who chose."""

    @property
    def most_shots(self) -> int:
        """Images of each class that can be shown."""
        return self.sizes[1] // self.classes if self.rarest is None else self.rarest

    @property
    def how_to_get(self) -> str:
        """One phrase for `list datasets`."""
        return "--data-dir DIR or --download" if self.torchvision else "embedded in scikit-learn"


def _idx_files(part: str, images: str, labels: str) -> tuple[Files]:
    return ({f"{part}-images-idx3-ubyte": images, f"{part}-labels-idx1-ubyte": labels},)


DATASETS: dict[str, Facts] = {
    "digits": Facts((1, 8, 8), 10, SIZES["digits"]),
    "mnist": Facts(
        (1, 28, 28), 10, SIZES["mnist"], "MNIST", "MNIST/raw",
        _idx_files("train", "6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
        _idx_files("t10k", "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
        parse_idx,
    ),
    "fashion_mnist": Facts(
        (1, 28, 28), 10, SIZES["fashion_mnist"], "FashionMNIST", "FashionMNIST/raw",
        _idx_files("train", "f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9"),
        _idx_files("t10k", "8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
        parse_idx,
    ),
    "cifar10": Facts(
        (3, 32, 32), 10, SIZES["cifar10"], "CIFAR10", "cifar-10-batches-py",
        (
            {"data_batch_1": "c99cafc152244af753f735de768cd75f"},
            {"data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec"},
            {"data_batch_3": "54ebc095f3ab1f0389bbae665268c751"},
            {"data_batch_4": "634d18415352ddfa80567beed471001a"},
            {"data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb"},
        ),
        ({"test_batch": "40351d587109b95175f43aff81a1287e"},),
    ),
    "cifar100": Facts(
        (3, 32, 32), 100, SIZES["cifar100"], "CIFAR100", "cifar-100-python",
        ({"train": "16019d7e3df5f24257cddd939b257f8d"},),
        ({"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},),
    ),
    "svhn": Facts(
        (3, 32, 32), 10, SIZES["svhn"], "SVHN", "",
        ({"train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373"},),
        ({"test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3"},),
        parse_svhn,
    ),
}  # fmt: skip
