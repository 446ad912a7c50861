"""The head as a mesh: detector points plus closed eyes, two sheets inside the mouth and a skirt, with a uv unwrap.

In: a mean face [468, 3] (cm, head space, lips closed). Out: `HeadMesh`. The upper sheet (teeth, palate, throat) is
rigid with the head, the lower sheet (teeth, tongue) rigid with the jaw; both lie behind the lips and overlap, so that
an open mouth shows no hole. The unwrap keeps triangles as rigid as possible while their size in uv falls off away from
the mouth; the sheets are islands of their own below the face.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu

from prior.face.points import CHIN, EYELIDS, FACE_OVAL, LIPS_INNER, LIPS_OUTER
from render.head.face_model import REGIONS

#: Points that move with the jaw bone; the lower sheet moves as they do.
JAW_POINTS = (152, 148, 377, 176, 400, 149, 378, 150, 379, 136, 365, 175, 171, 396, 199, 208, 428, 200)
#: Half width of the sheets (cm), and how fast they curve back sideways (cm per cm²).
SHEET_HALF_WIDTH = 3.0
SHEET_CURVE = 0.17
SHEET_COLUMNS = 13
#: Rows of the sheets: height above the closed lips' line and distance out from the upper lip's inner edge, cm, and
#: place in the sheet's uv box, where what is seen from the front gets as many texels a cm down as across. The upper
#: sheet leaves the plane of the teeth where upper teeth end; the lower one begins where lower teeth bite behind them.
UPPER_ROWS = (
    *((1.4, -0.8, 0.0), (0.4, -0.5, 0.05), (-0.1, -0.52, 0.25), (-0.35, -0.6, 0.37)),
    *((-0.6, -1.7, 0.5), (-1.6, -3.1, 0.85), (-3.2, -3.5, 1.0)),
)
LOWER_ROWS = ((0.1, -2.5, 0.0), (0.3, -0.95, 0.22), (-0.3, -0.88, 0.5), (-0.8, -0.82, 0.75), (-2.0, -1.1, 1.0))
#: Skirt rings: how far out sideways (share of the oval's radius), how far back (cm), share of the oval's expression.
SKIRT_RINGS = ((0.1, 1.2, 0.7), (0.2, 3.2, 0.25))
#: uv scale by region of the face: around the mouth, at the jaw, at the brow and above, in the skirt.
UV_SCALES = {"mouth": 1.6, "jaw": 1.0, "upper": 0.45, "skirt": 0.4}
UV_ROUNDS = 200
#: uv boxes (left, top, right, bottom) of the skin and of the two sheets.
SKIN_BOX = (0.02, 0.02, 0.98, 0.76)
UPPER_BOX = (0.02, 0.79, 0.49, 0.98)
LOWER_BOX = (0.51, 0.79, 0.98, 0.98)


@dataclass(frozen=True)
class HeadMesh:
    """Mesh of the mean head.

    Attributes:
        vertices: [V, 3] float64 cm; the detector's points, then upper sheet, lower sheet, skirt.
        faces: [F, 3] int64, counter-clockwise seen from outside.
        uv: [V, 2] float64 in [0, 1], origin top left.
        face_region: [F] int64, index into `REGIONS`.
        parts: slices of the vertices by name: "skin", "upper_sheet", "lower_sheet", "skirt".
    """

    vertices: torch.Tensor
    faces: torch.Tensor
    uv: torch.Tensor
    face_region: torch.Tensor
    parts: dict[str, slice]


def skin_faces() -> torch.Tensor:
    """The detector's 852 triangles, int64 [852, 3], all turning the same way: its edges come in closed triples.

    Raises:
        ValueError: this release of mediapipe lists its edges in another order.
    """
    from mediapipe.python.solutions import face_mesh_connections  # needed only to build a model

    # The set itself has lost the order in which its source lists the edges.
    source = inspect.getsource(face_mesh_connections).split("FACEMESH_TESSELATION", 1)[1]
    edges = torch.tensor([[int(a), int(b)] for a, b in re.findall(r"\((\d+), (\d+)\)", source)]).reshape(-1, 3, 2)
    if len(edges) != 852 or not torch.equal(edges[:, :, 1], edges[:, :, 0].roll(-1, 1)):
        raise ValueError("mediapipe's FACEMESH_TESSELATION is not a list of closed triples; use mediapipe 0.10.14")
    return edges[:, :, 0]


def strip_between(upper: Sequence[int], lower: Sequence[int]) -> list[tuple[int, int, int]]:
    """Triangles between two polylines of equal length that share their ends, counter-clockwise seen from outside."""
    faces = []
    for (u0, u1), (l0, l1) in zip(pairwise(upper), pairwise(lower), strict=True):
        faces += [(u0, l0, l1)] if l0 != u0 else []
        faces += [(u0, l1, u1)] if l1 != u1 else []
    return faces


def eye_faces() -> list[tuple[int, int, int]]:
    """Strips that close both eyes between the lids."""
    return [face for upper, lower in EYELIDS for face in strip_between(upper, lower)]


def grid_faces(start: int, rows: int, columns: int) -> list[tuple[int, int, int]]:
    """Triangles of a grid of vertices numbered row by row from `start`; rows go down, columns to the right."""
    faces = []
    for row in range(rows - 1):
        for column in range(columns - 1):
            a = start + row * columns + column
            faces += [(a, a + columns, a + columns + 1), (a, a + columns + 1, a + 1)]
    return faces


def sheet(mean: torch.Tensor, rows: tuple[tuple[float, float, float], ...]) -> torch.Tensor:
    """Vertices [rows × SHEET_COLUMNS, 3] of a sheet behind the lips of a mean face."""
    line = float(mean[[13, 14], 1].mean())
    edge = float(mean[13, 2])
    x = torch.linspace(-SHEET_HALF_WIDTH, SHEET_HALF_WIDTH, SHEET_COLUMNS, dtype=mean.dtype)
    points = [
        torch.stack([x, torch.full_like(x, line + up), edge + out - SHEET_CURVE * x**2], -1) for up, out, _ in rows
    ]
    return torch.cat(points)


def skirt(mean: torch.Tensor) -> torch.Tensor:
    """Rings [2 × 36, 3] outside the face oval, wider and further back."""
    oval = mean[list(FACE_OVAL)]
    centre = oval.mean(0)
    rings = []
    for share, back, _ in SKIRT_RINGS:
        ring = oval + share * (oval - centre) * oval.new_tensor([1.0, 1.0, 0.0])
        rings.append(ring - oval.new_tensor([0.0, 0.0, back]))
    return torch.cat(rings)


def skirt_faces(start: int) -> list[tuple[int, int, int]]:
    """Triangles from the oval to the first ring and on to the second; the oval runs clockwise in the image."""
    count = len(FACE_OVAL)
    rings = [list(FACE_OVAL), *(list(range(start + k * count, start + (k + 1) * count)) for k in range(2))]
    faces = []
    for inner, outer in pairwise(rings):
        for k in range(count):
            n = (k + 1) % count
            faces += [(inner[k], inner[n], outer[n]), (inner[k], outer[n], outer[k])]
    return faces


def lip_faces(faces: torch.Tensor) -> torch.Tensor:
    """Boolean [F]: skin triangles between the inner and the outer loop of the lips."""
    border = {frozenset(edge) for edge in pairwise((*LIPS_OUTER, LIPS_OUTER[0]))}
    by_edge: dict[frozenset[int], list[int]] = {}
    for index, (a, b, c) in enumerate(faces.tolist()):
        for edge in ((a, b), (b, c), (c, a)):
            by_edge.setdefault(frozenset(edge), []).append(index)
    inner = pairwise((*LIPS_INNER, LIPS_INNER[0]))
    waiting = [index for edge in inner for index in by_edge[frozenset(edge)]]
    lips: set[int] = set()
    while waiting:
        index = waiting.pop()
        if index in lips:
            continue
        lips.add(index)
        a, b, c = faces[index].tolist()
        for side in (frozenset((a, b)), frozenset((b, c)), frozenset((c, a))):
            if side not in border:
                waiting += by_edge[side]
    result = torch.zeros(len(faces), dtype=torch.bool)
    result[list(lips)] = True
    return result


def lower_face(points: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Boolean [...]: points [..., 3] below a line from under the nose up to the cheeks: what a dub may redraw."""
    nose_base = float(mean[2, 1])
    sideways = ((points[..., 0].abs() - 1.4) / 2.2).clamp(0, 1)
    return points[..., 1] < nose_base + 0.15 + 1.5 * sideways


def mirror_index(mean: torch.Tensor) -> torch.Tensor:
    """For each point of a roughly symmetric mean [V, 3] the point at the other side: int64 [V]."""
    flipped = mean * mean.new_tensor([-1.0, 1.0, 1.0])
    # One to one, and the same both ways: nearest points alone may share a partner where points are dense.
    cost = torch.cdist(flipped, mean).square()
    mirror = torch.from_numpy(linear_sum_assignment((cost + cost.T).numpy())[1])
    if not torch.equal(mirror[mirror], torch.arange(len(mean))):
        wrong = (mirror[mirror] != torch.arange(len(mean))).nonzero()[:, 0].tolist()
        raise ValueError(f"the mean head is too crooked to pair its left and right points {wrong[:10]}")
    return mirror


def head_mesh(mean: torch.Tensor) -> HeadMesh:
    """The whole mesh from a mean face [468, 3] float64."""
    skin = skin_faces()
    normals = torch.linalg.cross(mean[skin[:, 1]] - mean[skin[:, 0]], mean[skin[:, 2]] - mean[skin[:, 0]])
    if normals[:, 2].mean() < 0:
        skin = skin[:, [0, 2, 1]]
    pieces = {
        "skin": mean,
        "upper_sheet": sheet(mean, UPPER_ROWS),
        "lower_sheet": sheet(mean, LOWER_ROWS),
        "skirt": skirt(mean),
    }
    starts = np.cumsum([0, *(len(piece) for piece in pieces.values())]).tolist()
    parts = {name: slice(*ends) for name, ends in zip(pieces, pairwise(starts), strict=True)}
    vertices = torch.cat(list(pieces.values()))
    lips = lip_faces(skin)
    below = lower_face(mean[skin].mean(1), mean)
    region = torch.where(below, REGIONS.index("skin_lower"), REGIONS.index("skin_upper"))
    region[lips] = REGIONS.index("lips")
    groups = [(skin, region)]
    for name, triangles in (
        ("eyes", eye_faces()),
        ("mouth_upper", grid_faces(starts[1], len(UPPER_ROWS), SHEET_COLUMNS)),
        ("mouth_lower", grid_faces(starts[2], len(LOWER_ROWS), SHEET_COLUMNS)),
        ("skirt", skirt_faces(starts[3])),
    ):
        groups.append((torch.tensor(triangles), torch.full((len(triangles),), REGIONS.index(name))))
    faces = torch.cat([group[0] for group in groups])
    face_region = torch.cat([group[1] for group in groups])
    uv = unwrap(vertices, faces, face_region, parts)
    return HeadMesh(vertices, faces, uv, face_region, parts)


def unwrap(
    vertices: torch.Tensor, faces: torch.Tensor, face_region: torch.Tensor, parts: dict[str, slice]
) -> torch.Tensor:
    """Texture coordinates [V, 2] float64 of the whole head: the skin with its skirt above, the two sheets below."""
    uv = torch.zeros(len(vertices), 2, dtype=vertices.dtype)
    sheets = (face_region == REGIONS.index("mouth_upper")) | (face_region == REGIONS.index("mouth_lower"))
    skin = faces[~sheets]
    used = torch.cat([torch.arange(len(vertices))[parts[name]] for name in ("skin", "skirt")])
    local = torch.full((len(vertices),), -1)
    local[used] = torch.arange(len(used))
    flat = unwrap_skin(vertices[used], local[skin], face_region[~sheets])
    uv[used] = fit_box(flat, SKIN_BOX)
    for name, box, rows in (("upper_sheet", UPPER_BOX, UPPER_ROWS), ("lower_sheet", LOWER_BOX, LOWER_ROWS)):
        grid = vertices[parts[name]].reshape(len(rows), SHEET_COLUMNS, 3)
        across = arc_length(grid[0])
        down = grid.new_tensor([place for *_, place in rows])
        left, top, right, bottom = box
        uv[parts[name], 0] = (left + (right - left) * across).repeat(len(rows))
        uv[parts[name], 1] = (top + (bottom - top) * down).repeat_interleave(SHEET_COLUMNS)
    return uv


def arc_length(points: torch.Tensor) -> torch.Tensor:
    """Share of a polyline's length up to each of its points [N, 3]: [N] from 0 to 1."""
    steps = points.diff(dim=0).norm(dim=-1).cumsum(0)
    return torch.cat([steps.new_zeros(1), steps / steps[-1]])


def fit_box(flat: torch.Tensor, box: tuple[float, float, float, float]) -> torch.Tensor:
    """Scale and centre positions [V, 2] (y up) into the middle of a uv box, keeping their aspect."""
    left, top, right, bottom = box
    low, high = flat.min(0).values, flat.max(0).values
    scale = min((right - left) / float(high[0] - low[0]), (bottom - top) / float(high[1] - low[1]))
    middle = flat.new_tensor([(left + right) / 2, (top + bottom) / 2])
    return (flat - (low + high) / 2) * flat.new_tensor([scale, -scale]) + middle


def uv_scale(centres: torch.Tensor, vertices: torch.Tensor, face_region: torch.Tensor) -> torch.Tensor:
    """Wanted length in uv per cm, relative, at triangle centres [F, 3]: [F]."""
    mouth = vertices[[13, 14]].mean(0)
    away = ((centres - mouth) * centres.new_tensor([0.8, 1.0, 0.5])).norm(dim=-1)
    near = torch.exp(-((away / 3.2) ** 2))
    height = ((centres[:, 1] - vertices[4, 1]) / 3.0).clamp(0, 1)  # 0 at the nose tip, 1 at the eyes
    scale = UV_SCALES["jaw"] + (UV_SCALES["mouth"] - UV_SCALES["jaw"]) * near
    scale = scale + (UV_SCALES["upper"] - scale) * height
    return torch.where(face_region == REGIONS.index("skirt"), scale * UV_SCALES["skirt"], scale)


def unwrap_skin(vertices: torch.Tensor, faces: torch.Tensor, face_region: torch.Tensor) -> torch.Tensor:
    """As-rigid-as-possible flattening (Liu et al. 2008, "A local/global approach to mesh parameterization").

    Starts from the frontal view, in which no triangle of the mean face is turned over, with a strip across the mouth so
    that the lips cannot turn inside out.

    Args:
        vertices: [V, 3] cm.
        faces: [F, 3] int64.
        face_region: [F].

    Returns:
        [V, 2], y up, about 1 per cm around the jaw.
    """
    strip = torch.tensor(mouth_strip())
    scale = uv_scale(vertices[faces].mean(1), vertices, face_region)
    flat_strip = vertices[strip] * vertices.new_tensor([1.0, 1.0, 0.0])
    rest = torch.cat([flatten(vertices[faces]) * scale[:, None, None], flatten(flat_strip) * UV_SCALES["mouth"]])
    faces = torch.cat([faces, strip])
    corners = [(k, (k + 1) % 3, (k + 2) % 3) for k in range(3)]
    weights = []
    for a, b, c in corners:
        u, v = rest[:, a] - rest[:, c], rest[:, b] - rest[:, c]
        area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
        weights.append(((u * v).sum(-1) / area.clamp(min=1e-6) / 2).clamp(0.05, 5))  # cotangents, kept positive
    solve = laplacian_solver(faces.numpy(), corners, weights)
    flat = vertices[:, :2].clone()
    for _ in range(UV_ROUNDS):
        jacobian = torch.zeros(len(faces), 2, 2, dtype=flat.dtype)
        for (a, b, _), weight in zip(corners, weights, strict=True):
            now = flat[faces[:, a]] - flat[faces[:, b]]
            jacobian += weight[:, None, None] * now[:, :, None] * (rest[:, a] - rest[:, b])[:, None, :]
        u, _, vt = torch.linalg.svd(jacobian)
        u = u * torch.stack([torch.ones(len(faces)), torch.det(u @ vt)], -1)[:, None, :]
        rotation = u @ vt
        target = torch.zeros_like(flat)
        for (a, b, _), weight in zip(corners, weights, strict=True):
            wanted = weight[:, None] * torch.einsum("fij,fj->fi", rotation, rest[:, a] - rest[:, b])
            target.index_add_(0, faces[:, a], wanted)
            target.index_add_(0, faces[:, b], -wanted)
        flat = torch.from_numpy(solve(target.numpy()))
    return mirror_upright(flat, vertices)


def mirror_upright(flat: torch.Tensor, vertices: torch.Tensor) -> torch.Tensor:
    """Turn a flattening [V, 2] so that forehead is above chin, and make it left/right symmetric."""
    up = flat[FACE_OVAL[0]] - flat[CHIN]
    up = up / up.norm()
    flat = torch.stack([flat[:, 0] * up[1] - flat[:, 1] * up[0], flat @ up], -1)
    flat = flat - flat[CHIN]
    return (flat + flat[mirror_index(vertices)] * flat.new_tensor([-1.0, 1.0])) / 2


def flatten(corners: torch.Tensor) -> torch.Tensor:
    """Triangles [F, 3, 3] laid into their own planes: [F, 3, 2], counter-clockwise."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    x = first / first.norm(dim=-1, keepdim=True)
    along = (second * x).sum(-1)
    height = (second - along[:, None] * x).norm(dim=-1)
    zero = torch.zeros_like(along)
    pairs = [(zero, zero), (first.norm(dim=-1), zero), (along, height)]
    return torch.stack([torch.stack(pair, -1) for pair in pairs], 1)


def laplacian_solver(
    faces: np.ndarray, corners: list[tuple[int, int, int]], weights: list[torch.Tensor]
) -> Callable[[np.ndarray], np.ndarray]:
    """Solver of the weighted graph Laplacian of a mesh, with its first vertex held near 0."""
    rows, columns, values = [], [], []
    for (a, b, _), weight in zip(corners, weights, strict=True):
        i, j, w = faces[:, a], faces[:, b], weight.numpy()
        rows += [i, j, i, j]
        columns += [i, j, j, i]
        values += [w, w, -w, -w]
    matrix = coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))).tocsc()
    matrix[0, 0] += 1.0
    factor = splu(matrix)
    return lambda target: factor.solve(target)


def mouth_strip() -> list[tuple[int, int, int]]:
    """Triangles between the inner lips, for the unwrap only."""
    half = len(LIPS_INNER) // 2
    lower = LIPS_INNER[: half + 1]
    upper = (LIPS_INNER[0], *reversed(LIPS_INNER[half:]))
    return strip_between(upper, lower)


def extend_shape(basis: torch.Tensor, mesh: HeadMesh) -> torch.Tensor:
    """Shape axes [S, 468, 3] to the whole mesh [S, V, 3]: sheets follow the lips' place and width, skirt the oval."""
    full = basis.new_zeros(len(basis), len(mesh.vertices), 3)
    full[:, mesh.parts["skin"]] = basis
    lips = list(LIPS_INNER)
    x = mesh.vertices[lips, 0]
    widening = (basis[:, lips, 0] * x).sum(1) / (x * x).sum()  # [S] per cm
    for name in ("upper_sheet", "lower_sheet"):
        part = mesh.parts[name]
        full[:, part] = basis[:, lips].mean(1)[:, None]
        full[:, part, 0] += widening[:, None] * mesh.vertices[part, 0]
    full[:, mesh.parts["skirt"]] = basis[:, list(FACE_OVAL)].repeat(1, len(SKIRT_RINGS), 1)
    return full


def extend_expression(basis: torch.Tensor, mesh: HeadMesh) -> torch.Tensor:
    """Expression axes [E, 468, 3] to the whole mesh [E, V, 3].

    The upper sheet does not move; the lower one turns and shifts as the jaw's points do (least squares, first order);
    the skirt fades from the oval's motion to none.
    """
    full = basis.new_zeros(len(basis), len(mesh.vertices), 3)
    full[:, mesh.parts["skin"]] = basis
    jaw = list(JAW_POINTS)
    centre = mesh.vertices[jaw].mean(0)
    moved = basis[:, jaw].reshape(len(basis), -1)
    design = rigid_design(mesh.vertices[jaw] - centre)  # [3 J, 6]
    # A ridge on the turn: the chin is a small patch, and noise in depth must not swing the teeth.
    ridge = torch.diag(design.new_tensor([0.0, 0.0, 0.0, 20.0, 20.0, 20.0]))
    motion = torch.linalg.solve(design.T @ design + ridge, design.T @ moved.T)  # [6, E]
    part = mesh.parts["lower_sheet"]
    sheet_design = rigid_design(mesh.vertices[part] - centre)
    full[:, part] = (sheet_design @ motion).T.reshape(len(basis), -1, 3)
    oval = basis[:, list(FACE_OVAL)]
    full[:, mesh.parts["skirt"]] = torch.cat([share * oval for _, _, share in SKIRT_RINGS], 1)
    return full


def rigid_design(points: torch.Tensor) -> torch.Tensor:
    """Matrix [3 N, 6] from (shift, small turn) to displacements of points [N, 3]."""
    x, y, z = points.unbind(-1)
    zero = torch.zeros_like(x)
    turn = torch.stack(
        [torch.stack([zero, z, -y], -1), torch.stack([-z, zero, x], -1), torch.stack([y, -x, zero], -1)], 1
    )
    shift = torch.eye(3, dtype=points.dtype).expand(len(points), 3, 3)
    return torch.cat([shift, turn], -1).reshape(-1, 6)
