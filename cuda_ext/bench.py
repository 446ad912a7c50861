"""Time the ops: `python -m cuda_ext.bench [--json] [--against twin nvdiffrast pytorch3d]`.

Every row is one op on a closed mesh that fills most of the picture, every pixel of it covered twice: milliseconds a
frame (the median over repeats), Mpix/s, and `floor_ms`, the time to copy as many bytes as the op writes (its outputs,
and with the backward pass its gradients), measured in the same run. Features have 16 channels, the map is 256 x 256.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from cuda_ext import ops, reference
from cuda_ext.other_rasterizers import PEERS
from cuda_ext.types import Surface

GRIDS = {1000: (20, 25), 10_000: (70, 72), 76_000: (190, 200)}  # faces: rings and segments of the mesh
CHANNELS = 16
MAP_SIZE = 256


def ellipsoid(rings: int, segments: int, batch: int = 1, radius: float = 0.85) -> tuple[Tensor, Tensor, Tensor]:
    """Make a closed mesh in perspective that fills `radius` of the image, wider than a face but as tall.

    Args:
        rings: rows of quads from pole to pole.
        segments: quads around; 2 x rings x segments faces.
        batch: images; each turned a little further.
        radius: share of the half image that it reaches.

    Returns:
        clip_positions float32 [B, V, 4], faces int32 [F, 3], uv float32 [V, 2].
    """
    down, around = torch.meshgrid(torch.linspace(0, 1, rings + 1), torch.linspace(0, 1, segments + 1), indexing="ij")
    images = []
    for index in range(batch):
        turn = 2 * math.pi * around + 0.1 * index
        x, y, z = (math.pi * down).sin() * turn.cos(), (math.pi * down).cos(), (math.pi * down).sin() * turn.sin()
        w = 2 + 0.2 * z
        images.append(torch.stack([radius * x * w, radius * y * w, 0.5 * z * w, w], dim=-1).flatten(0, 1))
    first = (torch.arange(rings)[:, None] * (segments + 1) + torch.arange(segments)).flatten()
    upper = torch.stack([first, first + 1, first + segments + 1], dim=1)
    lower = torch.stack([first + 1, first + segments + 2, first + segments + 1], dim=1)
    uv = torch.stack([around, down], dim=-1).flatten(0, 1)
    return torch.stack(images), torch.cat([upper, lower]).int(), uv.contiguous()


class BenchScene:
    """Inputs of every op for one size, and leaves that collect their gradients."""

    def __init__(self, faces: int, size: int, batch: int, device: str) -> None:
        clip, face_list, uv = ellipsoid(*GRIDS[faces], batch=batch)
        generator = torch.Generator().manual_seed(0)
        feature_map = torch.randn(1, CHANNELS, MAP_SIZE, MAP_SIZE, generator=generator)
        self.clip = clip.to(device).requires_grad_()
        self.faces, self.vertex_uv = face_list.to(device), uv.to(device).requires_grad_()
        self.map = feature_map.to(device).contiguous(memory_format=torch.channels_last).requires_grad_()
        self.resolution = (size, size)
        with torch.no_grad():
            self.raster = ops.rasterize(self.clip, self.faces, self.resolution)
            self.uv = ops.interpolate(self.vertex_uv, self.raster, self.faces)
            self.features = ops.texture(self.map, self.uv)
            self.topology = ops.edge_topology(self.faces)
        self.raster.barycentrics.requires_grad_()
        self.uv.requires_grad_()
        self.features.requires_grad_()

    def calls(self) -> dict[str, Callable[[Any], Tensor | tuple[Tensor, ...]]]:
        """Op name: function of the module that implements it (`ops` or its twin) to the differentiable outputs."""
        clip, faces, size = self.clip, self.faces, self.resolution
        return {
            "rasterize": lambda m: m.rasterize(clip, faces, size)[1:3],
            "interpolate": lambda m: m.interpolate(self.vertex_uv, self.raster, faces),
            "texture": lambda m: m.texture(self.map, self.uv),
            "antialias": lambda m: m.antialias(self.features, self.raster, clip, faces, self.topology),
            "shade": lambda m: m.shade(clip, faces, Surface(self.vertex_uv, self.map), size).features,
        }

    def leaves(self) -> list[Tensor]:
        """All tensors that gradients are asked for."""
        return [self.clip, self.vertex_uv, self.map, self.raster.barycentrics, self.uv, self.features]


def median_ms(call: Callable[[], object], repeats: int, device: str) -> float:
    """Median time of a call; on CUDA between events on the stream."""
    times = []
    for index in range(repeats + 2):
        if device == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            call()
            end.record()
            end.synchronize()
            elapsed = begin.elapsed_time(end)
        else:
            start = time.perf_counter()
            call()
            elapsed = 1000 * (time.perf_counter() - start)
        if index >= 2:
            times.append(elapsed)
    return statistics.median(times)


def floor_ms(byte_count: int, repeats: int, device: str) -> float:
    """Time to copy this many bytes."""
    source = torch.zeros(byte_count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return median_ms(lambda: target.copy_(source), repeats, device)


def measure(scene: BenchScene, op: str, module: Any, repeats: int, device: str) -> Iterator[tuple[str, float, float]]:
    """Time one op; yields pass, ms and floor_ms of the whole batch, forward and then with backward."""
    call = scene.calls()[op]
    with torch.no_grad():
        outputs = call(module)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        written = sum(x.nbytes for x in outputs)
        if op == "shade":
            written += sum(x.nbytes for x in scene.raster if x is not None)
        yield "forward", median_ms(lambda: call(module), repeats, device), floor_ms(written, repeats, device)
    gradients = [torch.ones_like(x) for x in outputs]

    def both() -> list[Tensor | None]:
        results = call(module)
        for leaf in scene.leaves():
            leaf.grad = None
        torch.autograd.backward(results, gradients)
        return [leaf.grad for leaf in scene.leaves()]

    written += sum(gradient.nbytes for gradient in both() if gradient is not None)
    yield "forward+backward", median_ms(both, repeats, device), floor_ms(written, repeats, device)


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """One dictionary per measurement."""
    for faces in arguments.faces:
        for size in arguments.size:
            for batch in arguments.batch:
                scene = BenchScene(faces, size, batch, arguments.device)
                same = {"device": arguments.device, "faces": len(scene.faces), "size": size, "batch": batch}

                def row(op: str, direction: str, ms: float, floor: float, same: dict = same) -> dict[str, object]:
                    ms, floor = ms / same["batch"], floor / same["batch"]
                    speed = same["size"] ** 2 / ms / 1000
                    return {"op": op, "pass": direction} | same | {"ms": ms, "mpix_s": speed, "floor_ms": floor}

                for op in arguments.op:
                    for measured in measure(scene, op, ops, arguments.repeats, arguments.device):
                        yield row(op, *measured)
                    if "twin" in arguments.against:
                        for measured in measure(scene, op, reference, 1, arguments.device):
                            yield row(f"twin {op}", *measured)
                for name in set(arguments.against) & set(PEERS):
                    with torch.no_grad():
                        call = PEERS[name](scene.clip, scene.faces, scene.resolution)
                        ms = median_ms(call, arguments.repeats, arguments.device)
                    yield row(f"{name} rasterize", "forward", ms, floor_ms(scene.clip.nbytes, 1, arguments.device))


def main(words: list[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    names = ["rasterize", "interpolate", "texture", "antialias", "shade"]
    parser = argparse.ArgumentParser(prog="python -m cuda_ext.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--op", nargs="+", choices=names, default=names)
    parser.add_argument("--faces", nargs="+", type=int, choices=list(GRIDS), default=list(GRIDS))
    parser.add_argument("--size", nargs="+", type=int, default=[256, 512, 1024], help="px of the square picture")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--against", nargs="*", choices=["twin", *PEERS], default=[])
    arguments = parser.parse_args(words)
    for name in set(arguments.against) & set(PEERS):
        try:
            __import__(name)
        except ImportError:
            sys.exit(f"--against {name}: the package {name} is not installed; build it from its source")
    if not arguments.json:
        print(f"{'op':24} {'pass':17} {'faces':>6} {'size':>5} {'batch':>5} {'ms':>9} {'Mpix/s':>9} {'floor ms':>9}")
    for row in rows(arguments):
        if arguments.json:
            print(json.dumps(row), flush=True)
        else:
            print(
                f"{row['op']:24} {row['pass']:17} {row['faces']:6d} {row['size']:5d} {row['batch']:5d} "
                f"{row['ms']:9.3f} {row['mpix_s']:9.1f} {row['floor_ms']:9.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
