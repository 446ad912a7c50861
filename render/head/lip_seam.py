"""The seam of the lips in uv: where the edges of upper and lower lip lie side by side.

Lips part, but over uv the edges of a closed mouth touch. A bilinear sample within a texel of the seam would be mixed
with the other lip's colour, and a light or dark line would stand along the lips wherever they are of two colours. So
what lies on one lip is sampled no nearer to the seam than its own texels reach; but for where the lips lie together,
whose dark line is just there.
"""

from dataclasses import dataclass

import numpy as np
import torch

#: Lips so far apart, px of a crop, are still sampled across their seam, and so far apart not at all.
APART_PX = (4.0, 9.0)
#: Side of that crop.
CROP_PX = 256


@dataclass(frozen=True)
class LipSeam:
    """Inner edges of the lips, and the faces that touch them.

    Attributes:
        upper, lower: bool [F], faces at the edge of either lip.
        vertices: of the upper lip's edge and of the lower one's, by increasing u.
        edges: float64 [N, 2], uv of the same.
    """

    upper: torch.Tensor
    lower: torch.Tensor
    vertices: tuple[list[int], list[int]]
    edges: tuple[np.ndarray, np.ndarray]

    def keep_apart(self, uv: torch.Tensor, face_id: torch.Tensor, clip_vertices: torch.Tensor, texels: int) -> None:
        """Move samples of a square map along v, by about a texel at most, to where only their own lip is read.

        Args:
            uv: [B, H, W, 2] in [0, 1], origin top left; changed in place.
            face_id: int32 [B, H, W], the face that each is of, −1 for none.
            clip_vertices: [B, V, 4] of the same pictures, square ones.
            texels: side of the map that is to be sampled bilinearly, with centres of texels at + 0.5.
        """
        lip = torch.cat([self.upper.float() - self.lower.float(), uv.new_zeros(1)])[face_id.long()]
        touched = lip != 0
        u, v = uv[touched].unbind(-1)
        column = (u * texels - 0.5).long().clamp(0, texels - 2)  # and the next one
        last, first = torch.from_numpy(self._limits(texels)).to(uv)[:, column]
        own = torch.where(lip[touched] > 0, torch.minimum(v, last), torch.maximum(v, first))
        apart = torch.from_numpy(self._apart(clip_vertices, texels)).to(uv)[touched.nonzero()[:, 0], column]
        uv[touched] = torch.stack([u, torch.lerp(v, own, apart)], -1)

    def _apart(self, clip_vertices: torch.Tensor, texels: int) -> np.ndarray:
        """How much the lips count as apart in each picture at each column [B, texels], in [0, 1]."""
        centres = (np.arange(texels) + 0.5) / texels
        upper, lower = (clip_vertices[:, edge].detach().double().cpu() for edge in self.vertices)
        upper, lower = (points[..., :2] / points[..., 3:] * (CROP_PX / 2) for points in (upper, lower))
        along = upper[:, -1] - upper[:, 0]
        length = along.norm(dim=-1, keepdim=True).clamp(min=1e-6)  # seen from the side both ends may be in one place
        down = torch.stack([along[:, 1], -along[:, 0]], -1) / length  # y is up
        below = [(points @ down[:, :, None])[..., 0].numpy() for points in (upper, lower)]  # [B, N]
        rows = [
            np.stack([np.interp(centres, edge[:, 0], one) for one in each])
            for edge, each in zip(self.edges, below, strict=True)
        ]
        return np.clip((rows[1] - rows[0] - APART_PX[0]) / (APART_PX[1] - APART_PX[0]), 0, 1)

    def _limits(self, texels: int) -> np.ndarray:
        """Largest v of the upper lip, least of the lower one [2, texels - 1], where columns [n, n + 1] are read."""
        centres = (np.arange(texels) + 0.5) / texels
        rows = np.stack([np.interp(centres, *edge.T) for edge in self.edges]) * texels - 0.5
        last, first = np.floor(rows.min(0)), np.ceil(rows.max(0))  # rows of which the centres lie on one lip
        starts, ends = zip(*((edge[0, 0], edge[-1, 0]) for edge in self.edges), strict=True)
        beside = (centres < min(starts)) | (centres > max(ends))
        last[beside], first[beside] = texels, -1
        return (np.stack([np.minimum(last[:-1], last[1:]), np.maximum(first[:-1], first[1:])]) + 0.5) / texels


def lip_seam(faces: torch.Tensor, uv: torch.Tensor, lips: torch.Tensor) -> LipSeam | None:
    """The seam of a mesh: the border of its lips at which no other face begins.

    None where that is no single loop, or its two edges do not run along u.

    Args:
        faces: [F, 3] vertices, all turned alike.
        uv: [V, 2].
        lips: bool [F].
    """
    sides = torch.stack([faces, faces.roll(-1, 1)], -1).long()  # [F, 3, 2]
    _, place, count = sides.flatten(0, 1).sort(1).values.unique(dim=0, return_inverse=True, return_counts=True)
    free = (count[place].view(-1, 3) == 1) & lips[:, None]
    following = dict(sides[free].tolist())
    if len(following) < 4 or len(following) != int(free.sum()):
        return None
    loop = [min(following, key=lambda vertex: float(uv[vertex, 0]))]
    while len(loop) < len(following):
        loop.append(following.get(loop[-1], loop[0]))
    if set(loop) != set(following):
        return None
    right = max(range(len(loop)), key=lambda place: float(uv[loop[place], 0]))
    found = []
    for chain in (loop[: right + 1], loop[:1] + loop[: right - 1 : -1]):
        touching = lips & torch.isin(faces, faces.new_tensor(chain[1:-1])).any(1)
        height = float(uv[faces[touching].long(), 1].mean())
        found.append((height, touching, chain))
    (_, upper, above), (_, lower, below) = sorted(found, key=lambda one: one[0])
    edges = tuple(uv[chain].double().cpu().numpy() for chain in (above, below))
    if not all((np.diff(edge[:, 0]) > 0).all() for edge in edges):
        return None
    return LipSeam(upper, lower, (above, below), (edges[0], edges[1]))
