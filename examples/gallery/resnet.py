"""A ResNet of torchvision on folders of pictures; `python resnet.py` draws some, for those who have none."""

import math
import random
from pathlib import Path

import torchvision
from PIL import Image, ImageDraw
from torch import nn

POLYGONS = {"triangle": 3, "square": 4, "hexagon": 6, "disc": 40}
STARS = {"three": 3, "four": 4, "five": 5, "six": 6}


def draw(folder: Path, kinds: dict[str, int], count: int, *, stars: bool) -> None:
    """Draw `count` pictures of each kind, which has so many corners, into a folder for each."""
    rng = random.Random(folder.name)
    for kind, corners in kinds.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        inner = 0.4 if stars else math.cos(math.pi / corners)  # from the centre to a side
        for number in range(count):
            ground, colour = (tuple(rng.randrange(256) for _ in "rgb") for _ in range(2))
            picture = Image.new("RGB", (96, 96), ground)
            ImageDraw.Draw(picture).polygon(outline(corners, inner, rng), fill=colour)
            picture.resize((32, 32)).save(folder / kind / f"{number:04}.png")


def outline(corners: int, inner: float, rng: random.Random) -> list[tuple[float, float]]:
    """Return the corners of a figure of random place, size and turn; every second is `inner` times as far out."""
    x, y, radius = rng.uniform(36, 60), rng.uniform(36, 60), rng.uniform(20, 34)
    angle, points = rng.uniform(0, 2 * math.pi), []
    for _ in range(corners):
        for distance in (radius, radius * inner):
            points.append((x + distance * math.cos(angle), y + distance * math.sin(angle)))
            angle += math.pi / corners
    return points


def resnet18(classes: int, weights: str | None = None) -> nn.Module:
    """Build a ResNet-18 with a last layer of its own; `weights=DEFAULT` fetches ImageNet's for the other layers."""
    network = torchvision.models.resnet18(weights=weights)
    network.fc = nn.Linear(network.fc.in_features, classes)
    return network


if __name__ == "__main__":
    draw(Path("pictures/polygons"), POLYGONS, 500, stars=False)
    draw(Path("pictures/stars"), STARS, 140, stars=True)
