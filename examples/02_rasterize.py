"""Find where an egg is, and what is painted on it, from one picture: the rasterizer ops as an optimiser sees them.

A textured egg is drawn with `shade` and `antialias`. Starting from a grey egg in the wrong place, Adam moves it
(through its outline and its texture coordinates) and paints it (through the feature map) until the picture is the same.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from cuda_ext import ops
from cuda_ext.bench import ellipsoid
from cuda_ext.types import Surface


def draw(clip: torch.Tensor, faces: torch.Tensor, uv: torch.Tensor, colours: torch.Tensor, size: int) -> torch.Tensor:
    """Picture [1, 3, size, size] of the egg on black, linear rgb."""
    shading = ops.shade(clip, faces, Surface(uv, colours), (size, size))
    return ops.antialias(shading.features, shading.raster, clip, faces)


def moved(clip: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """The mesh shifted by `place` (x, y in NDC) and scaled by 1 + its third entry."""
    x, y, z, w = clip.unbind(-1)
    scale = 1 + place[2]
    return torch.stack([scale * x + place[0] * w, scale * y + place[1] * w, z, w], dim=-1).contiguous()


def checks(size: int) -> torch.Tensor:
    """A chequered colour map [1, 3, size, size]."""
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    dark = ((row * 8 // size + column * 16 // size) % 2).float()
    return torch.stack([0.2 + 0.7 * dark, column / size, row / size])[None]


def save(path: Path, pictures: list[torch.Tensor]) -> None:
    row = torch.cat(pictures, dim=3)[0].detach().clamp(0, 1).permute(1, 2, 0).numpy()
    cv2.imwrite(str(path), (255 * row[..., ::-1]).round().astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("rasterize"), help="folder for the picture")
    parser.add_argument("--toy", action="store_true", help="small and short")
    arguments = parser.parse_args()
    size, steps = (64, 60) if arguments.toy else (256, 300)

    clip, faces, uv = ellipsoid(24, 32, radius=0.6)
    true_place = torch.tensor([0.15, -0.1, 0.2])
    target = draw(moved(clip, true_place), faces, uv, checks(64), size)

    place = torch.zeros(3, requires_grad=True)
    colours = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    optimiser = torch.optim.Adam([{"params": [place], "lr": 0.01}, {"params": [colours], "lr": 0.05}])
    start = draw(moved(clip, place), faces, uv, colours, size)
    for step in range(steps):
        picture = draw(moved(clip, place), faces, uv, colours, size)
        loss = (picture - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % (steps // 6) == 0:
            print(f"step {step:3d}  loss {loss.item():.5f}  off by {(place - true_place).norm().item():.4f}")

    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "start_result_target.png"
    save(path, [start, picture, target])
    print(f"start, result and target are in {path}; off by {(place - true_place).norm().item():.4f}")


if __name__ == "__main__":
    main()
