"""The seam of the lips in uv: where the edges of upper and lower lip lie side by side.

Lips part, but over uv the edges of a closed mouth touch. A bilinear sample within a texel of the seam would be mixed
with the other lip's colour, and a light or dark line would stand along the lips wherever they are of two colours. So
what lies on one lip is sampled no nearer to the seam than its own texels reach.
"""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class LipSeam:
    """Inner edges of the lips, and the faces that touch them.

    Attributes:
        upper, lower: bool [F], faces at the edge of either lip.
        edges: float64 [N, 2], uv of the upper lip's edge and of the lower one's, by increasing u.
    """

    upper: torch.Tensor
    lower: torch.Tensor
    edges: tuple[np.ndarray, np.ndarray]

    def keep_apart(self, uv: torch.Tensor, face_id: torch.Tensor, texels: int) -> None:
        """Move samples of a square map along v, by about a texel at most, to where only their own lip is read.

        Args:
            uv: [..., 2] in [0, 1], origin top left; changed in place.
            face_id: int32 [...], the face that each is of, −1 for none.
            texels: side of the map that is to be sampled bilinearly, with centres of texels at + 0.5.
        """
        lip = torch.cat([self.upper.float() - self.lower.float(), uv.new_zeros(1)])[face_id.long()]
        touched = lip != 0
        u, v = uv[touched].unbind(-1)
        column = (u * texels - 0.5).long().clamp(0, texels - 2)  # and the next one
        last, first = torch.from_numpy(self._limits(texels)).to(uv)[:, column]
        v = torch.where(lip[touched] > 0, torch.minimum(v, last), torch.maximum(v, first))
        uv[touched] = torch.stack([u, v], -1)

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
    """The seam of a mesh: the border of its lips at which no other face begins; None where that is no single loop.

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
        found.append((height, touching, uv[chain].double().cpu().numpy()))
    (_, upper, above), (_, lower, below) = sorted(found, key=lambda one: one[0])
    return LipSeam(upper, lower, (above, below))
