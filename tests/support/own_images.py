"""Images of a user's: arrays in a file, and folders of pictures."""

import numpy as np
from PIL import Image


def pixels(n, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return f"npz:{path}"


def images_in(root, count=6, size=(10, 8), mode="RGB", names=("cat", "dog")):
    """Files of each class, all of them different."""
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(count):
            shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
            array = pixels(1, *shape, seed=100 * label + number)[0]
            Image.fromarray(array, mode).save(root / name / f"{number}.png")
    return root


MEDMNIST = {
    "train_images": pixels(60, 9, 9), "train_labels": (np.arange(60) % 2).astype(np.uint8)[:, None],
    "val_images": pixels(20, 9, 9, seed=1), "val_labels": (np.arange(20) % 2)[:, None],
    "test_images": pixels(30, 9, 9, seed=2), "test_labels": (np.arange(30) % 2)[:, None],
}  # fmt: skip
